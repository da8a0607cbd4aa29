# frozen_string_literal: true

require 'pangea/resources/resource_builder'
require 'pangea/resources/reference'

module Pangea
  module Resources
    module Base; end

    # Gems that describe their attributes with dry-struct bring it along.
    autoload :BaseAttributes, 'pangea/resources/base_attributes'
    autoload :Types, 'pangea/resources/types'
  end
end
