# frozen_string_literal: true

module Pangea
  module Resources
    ResourceBuilder = Engenho::ResourceBuilder unless const_defined?(:ResourceBuilder, false)
  end
end
