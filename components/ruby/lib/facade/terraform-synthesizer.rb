# frozen_string_literal: true

# The name under which templates and gems know the synthesizer, where no gem brings one. Engenho::Recorder, prepended to it, does the recording.
class InvalidSynthesizerKeyError < StandardError; end
class TooManyFieldValuesError < StandardError; end

class TerraformSynthesizer
  attr_reader :translation

  def initialize(name: nil)
    @name = name
    clear!
  end

  def clear!
    @translation = { manifest: {} }
  end

  def synthesis
    translation[:manifest]
  end
  alias manifest synthesis

  def synthesize(content = nil, &block)
    block ? instance_eval(&block) : instance_eval(content, 'template.rb', 1)
    self
  end
end
