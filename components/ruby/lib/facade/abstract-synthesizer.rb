# frozen_string_literal: true

require 'terraform-synthesizer'
