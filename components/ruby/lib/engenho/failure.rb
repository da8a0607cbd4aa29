# frozen_string_literal: true

module Engenho
  # An exception as the answer tells it: its kind, and where, with paths that mean something to the template's author.
  module Failure
    ROOTS = { '/src/' => '', '/gems/' => '', '/engenho/lib/' => 'engenho/' }.freeze
    OWN = '/engenho/lib/'

    module_function

    def describe(error)
      trace = locations(error)
      file, line = place(error, trace)
      { 'kind' => kind(error), 'class' => error.class.name.to_s.sub(/\AEngenho::/, ''), 'message' => message(error),
        'file' => file, 'line' => line, 'backtrace' => trace.map { |t| relative(t) }.first(20) }
    end

    def kind(error)
      case error
      when SyntaxError then 'syntax'
      when LoadError then 'load'
      when NoMemoryError then 'memory'
      when SystemStackError then 'stack'
      when SystemExit then 'exit'
      when SecurityError, Errno::EPERM, Errno::EACCES, Errno::EROFS then 'forbidden'
      when Errno::EAGAIN, NotImplementedError then 'forbidden'
      when SystemCallError then outside?(error.message) ? 'forbidden' : 'template'
      when UnknownName, NameError then 'name'
      else by_name(error)
      end
    end

    def by_name(error)
      case error.class.name
      when 'InvalidSynthesizerKeyError' then 'name'
      when 'TooManyFieldValuesError' then 'argument'
      when 'Engenho::ConstraintError', /\ADry::(Types|Struct)::/ then 'constraint'
      when 'SocketError', 'Socket::ResolutionError' then 'forbidden'
      else error.is_a?(ArgumentError) || error.is_a?(KeyError) || error.is_a?(TypeError) ? 'argument' : 'template'
      end
    end

    # Looked for something that a template does not see.
    def outside?(text)
      path = text[%r{(?:\s|\A)(/[^\s]*)\z}, 1]
      !path.nil? && ['/src', '/gems', '/scratch'].none? { |root| path == root || path.start_with?("#{root}/") }
    end

    def message(error)
      text =
        case error
        when SystemExit then "the template ended the process with status #{error.status}#{" (#{error.message})" unless error.message == 'exit'}"
        when SystemStackError then 'stack level too deep: the template calls itself without end'
        when NoMemoryError then 'the template wants more memory than it may have'
        when SyntaxError then error.message.sub(/\A[^\n]*?:\d+: /, '')
        else error.message
        end
      text = text.dup.force_encoding(Encoding::UTF_8).scrub('?')
      text = "#{text}; the sandbox has no network, no processes and no files but the template's, its gems' and /scratch" if kind(error) == 'forbidden'
      shorten(relative_text(text))
    end

    def shorten(text)
      text.size > 4000 ? "#{text[0, 4000]}..." : text
    end

    def locations(error)
      (error.backtrace || []).reject { |t| t.start_with?('<internal:', 'eval:', OWN) }
    end

    # The template's own line comes first, else that of a gem, else ours.
    def place(error, trace)
      if error.is_a?(SyntaxError) && (m = error.message.match(/\A(?<file>[^\s:]+):(?<line>\d+):/) || error.message.match(/^(?<file>--> )(?<x>\S+)/))
        return [relative(m[:file]), m[:line].to_i] if m.names.include?('line')
      end
      own = trace.find { |t| t.start_with?('template.rb:', '/src/') } || trace.find { |t| t.start_with?('/gems/') && !t.include?('/vendor/') } ||
            trace.find { |t| !t.start_with?(OWN) }
      m = own&.match(/\A(.+?):(\d+)/)
      m ? [relative(m[1]), m[2].to_i] : ['', 0]
    end

    def relative(path)
      ROOTS.each { |root, instead| return path.sub(root, instead) if path.start_with?(root) }
      path.sub(%r{\A/usr/(local/)?(lib|share)/(ruby/)?}, 'ruby/').sub(%r{\A/var/lib/gems/}, 'ruby/')
    end

    def relative_text(text)
      text.gsub(%r{(?<![\w/.])/(src|gems)/}, '').gsub(%r{(?<![\w/.])/engenho/lib/}, 'engenho/')
    end
  end
end
