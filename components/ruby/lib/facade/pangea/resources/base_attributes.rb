# frozen_string_literal: true

require 'pangea/resources/types'

module Pangea
  module Resources
    class BaseAttributes < Dry::Struct
      T = Types
      transform_keys(&:to_sym)
    end
  end
end
