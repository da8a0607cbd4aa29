# frozen_string_literal: true

module Engenho
  # The inputs of an architecture: a Hash of Symbols, so that it can be given as keywords, which also answers to Strings, as variables are named elsewhere.
  class Inputs < Hash
    def self.of(hash)
      hash.each_with_object(new) { |(key, value), inputs| inputs[key] = value }
    end

    def []=(key, value)
      super(symbol(key), wrap(value))
    end
    alias store []=

    def [](key) = super(symbol(key))
    def fetch(key, *otherwise, &block) = super(symbol(key), *otherwise, &block)
    def key?(key) = super(symbol(key))
    alias has_key? key?
    alias include? key?
    alias member? key?
    def delete(key, &block) = super(symbol(key), &block)
    def dig(key, *rest) = super(symbol(key), *rest)
    def values_at(*keys) = super(*keys.map { |k| symbol(k) })
    def fetch_values(*keys, &block) = super(*keys.map { |k| symbol(k) }, &block)
    def slice(*keys) = Inputs.of(super(*keys.map { |k| symbol(k) }))
    def except(*keys) = Inputs.of(super(*keys.map { |k| symbol(k) }))
    def merge(*others) = others.reduce(Inputs.of(self)) { |all, other| other.each { |k, v| all[k] = v } && all }

    private

    def symbol(key)
      key.is_a?(String) ? key.to_sym : key
    end

    def wrap(value)
      case value
      when Inputs then value
      when Hash then Inputs.of(value)
      when Array then value.map { |v| wrap(v) }
      else value
      end
    end
  end
end
