# frozen_string_literal: true

module Pangea
  module Resources
    ResourceReference = Engenho::Reference unless const_defined?(:ResourceReference, false)
  end
end
