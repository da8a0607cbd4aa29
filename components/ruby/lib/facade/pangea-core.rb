# frozen_string_literal: true

# What provider gems and templates use of Pangea, where no gem brings pangea-core.
require 'terraform-synthesizer'
require 'pangea/resource_registry'
require 'pangea/resources/base'
require 'pangea/resources/reference'
require 'pangea/resources/helpers'
require 'pangea/outputs'
require 'pangea/architecture'
