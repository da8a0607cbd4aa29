# frozen_string_literal: true

require 'json'

module Pangea
  # A named composition: `Pangea.architecture('aws::vpc::dev') { |inputs| ... }`.
  class Architecture
    attr_reader :name, :block

    def initialize(name, block)
      @name = name
      @block = block
    end

    def apply(synthesizer, inputs = {})
      synthesizer.instance_exec(inputs, &@block)
      synthesizer
    end
  end

  module Architectures; end

  module TemplateHelpers
    def jsonencode(value)
      JSON.generate(Engenho::Document.plain(value, ['jsonencode']))
    end

    def managed_tags
      { ManagedBy: 'pangea', Namespace: ENV.fetch('PANGEA_NAMESPACE', 'default') }
    end
  end

  @architectures = {}

  class << self
    attr_reader :last_architecture

    def architecture(name, &block)
      raise ArgumentError, "Pangea.architecture #{name.inspect}: a block is needed" unless block

      @last_architecture = @architectures[name.to_s] = Architecture.new(name.to_s, block)
    end

    def architecture_for(name)
      @architectures[name.to_s]
    end

    def architectures
      @architectures.dup
    end

    def reset_architectures!
      @architectures = {}
      @last_architecture = nil
    end
  end
end

TerraformSynthesizer.include(Pangea::TemplateHelpers)
