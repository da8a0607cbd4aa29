# frozen_string_literal: true

require 'dry-struct'
require 'dry-types'

module Pangea
  module Resources
    module Types
      include Dry.Types()
    end
  end
end
