# frozen_string_literal: true

module Pangea
  # Modules of resource functions; a synthesizer has all of them.
  module ResourceRegistry
    @by_provider = Hash.new { |hash, provider| hash[provider] = [] }

    class << self
      def register_module(mod)
        register(nil, mod)
      end

      def register(provider, mod)
        @by_provider[provider] |= [mod]
      end

      def registered_modules
        @by_provider.values.flatten.uniq
      end

      def registered?(mod)
        registered_modules.include?(mod)
      end

      def modules_for(provider)
        @by_provider.fetch(provider, [])
      end
    end
  end
end
