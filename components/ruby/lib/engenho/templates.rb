# frozen_string_literal: true

module Engenho
  # The `template :name do ... end` blocks of one file.
  class Templates
    class << self
      attr_reader :current

      def load(path)
        capture { Kernel.load(path) }
      end

      def evaluate(source)
        capture { RubyVM::InstructionSequence.compile(source, 'template.rb', 'template.rb', 1).eval }
      end

      private

      def capture
        before = @current
        @current = templates = new
        yield
        templates
      ensure
        @current = before
      end
    end

    def initialize
      @blocks = {}
    end

    def add(name, block)
      raise ArgumentError, "template #{name.inspect}: a block is needed" if block.nil?
      raise ArgumentError, "template #{name.inspect} is there twice" if @blocks.key?(name.to_s)

      @blocks[name.to_s] = block
    end

    def names
      @blocks.keys
    end

    # The one that is named; without a name, the only one there is.
    def choose(name, file)
      name = name.to_s
      if @blocks.empty?
        last = Pangea.last_architecture
        return last.block if last && (name.empty? || last.name == name)

        raise UnknownName, "no `template :name do ... end` in #{file}"
      end
      if name.empty?
        raise UnknownName, "#{file} has several templates, say which: #{names.join(', ')}" if @blocks.size > 1

        return @blocks.values.first
      end
      @blocks.fetch(name) { raise UnknownName, "no template \"#{name}\" in #{file}; it has #{names.join(', ')}" }
    end
  end
end

# In a file: begins a template. Inside a block of a synthesizer it is a field (Engenho::Recorder).
def template(name, &block)
  raise NameError, "template #{name.inspect} inside another template" if Engenho::Templates.current.nil?

  Engenho::Templates.current.add(name, block)
end
private :template
