# frozen_string_literal: true

module Engenho
  # The compiled form of gems' files. Half of the time that a gem takes to load is the parser's. A sandboxed process that runs nothing of the gem compiles its
  # files once (pack); the zygote keeps the bytes, without looking at them, for the calls with the same gems (use).
  #
  # Format: the header's length (4 bytes, big endian), the header {path: [offset, length, size, modified]} as JSON, the compiled files.
  module Compiled
    @table = {}

    class << self
      def pack(request, descriptor)
        Gems.setup(JSON.parse(request)['gems'])
        table = {}
        data = String.new(encoding: Encoding::BINARY)
        Gems.compilable.each do |path|
          compiled = RubyVM::InstructionSequence.compile_file(path).to_binary
          table[path] = [data.bytesize, compiled.bytesize, *stamp(path)]
          data << compiled
        rescue SyntaxError, SystemCallError, RuntimeError
          next   # it will tell when it is loaded
        end
        header = JSON.generate(table)
        out = IO.for_fd(descriptor, 'wb', autoclose: false)
        out.write([header.bytesize].pack('N'), header, data)
        out.flush
        ''
      end

      def use(text)
        text.force_encoding(Encoding::BINARY)
        length = text.unpack1('N')
        @table = JSON.parse(text.byteslice(4, length).force_encoding(Encoding::UTF_8))
        @text = text
        @start = 4 + length
        RubyVM::InstructionSequence.define_singleton_method(:load_iseq) { |path| Engenho::Compiled.load(path) }
        ''
      end

      # nil: Ruby reads the file itself.
      def load(path)
        offset, length, *stamp = @table[path]
        return nil if offset.nil? || stamp != stamp(path)

        RubyVM::InstructionSequence.load_from_binary(@text.byteslice(@start + offset, length))
      rescue SystemCallError
        nil
      end

      private

      def stamp(path)
        stat = File.stat(path)
        [stat.size, stat.mtime.strftime('%s.%N')]
      end
    end
  end
end
