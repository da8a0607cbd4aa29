# frozen_string_literal: true

# What a template's blocks record. Prepended to TerraformSynthesizer, our own or the public gem's: every call that is no method becomes a keyword, a
# block or a field of the document. Nothing is dropped without a word: what cannot be recorded is an error, what is doubtful a warning.
module Engenho
  # A keyword's number of names, and those of its nested blocks that exist once: given again, they are merged.
  KEYWORDS = { terraform: 0, provider: 1, resource: 2, variable: 1, locals: 0, output: 1, data: 2 }.freeze
  SINGLE_BLOCKS = %w[lifecycle timeouts required_providers tags tags_all labels triggers keepers].freeze
  # Ruby calls these by itself to ask what an object can do; they are never fields.
  CONVERSIONS = %i[to_ary to_str to_hash to_proc to_io to_path to_int to_sym to_regexp to_open to_r to_c coerce].freeze

  # Methods of Ruby (or of the synthesizer) that are also names of Terraform arguments. Inside a block they are fields, unless the call can only
  # mean Ruby's: the given lambda says when.
  NAMES_OF_METHODS = {
    p: nil, pp: nil, test: ->(args) { args.size > 1 }, format: ->(args) { args.size > 1 }, sprintf: ->(args) { args.size > 1 },
    system: ->(args) { args.size > 1 }, exec: nil, spawn: nil, fork: nil, open: ->(args) { args.size > 1 },
    select: ->(args) { args.size > 1 }, trap: nil, syscall: ->(args) { args.size > 1 }, gets: nil, autoload: ->(args) { args.size > 1 },
    method: ->(args) { args.size == 1 && args[0].is_a?(Symbol) }, display: ->(args) { args.size == 1 && args[0].is_a?(IO) },
    hash: nil, freeze: nil, then: nil, tap: nil, extend: ->(args) { args.all? { |a| a.is_a?(Module) } }, template: nil,
    manifest: nil, translation: nil, context_data: nil, print: ->(args) { args.size > 1 }
  }.freeze
  private_constant :NAMES_OF_METHODS

  module Recorder
    Frame = Struct.new(:hash, :path, :names_left, :seen)

    NAMES_OF_METHODS.each do |name, ruby_means|
      define_method(name) do |*args, &block|
        field = engenho_inside? && (!args.empty? || block) && !ruby_means&.call(args)
        # A block without arguments is Ruby's for these two, and a nested block for the others.
        field = false if args.empty? && %i[then tap].include?(name)
        field ? engenho_field(name, args, block) : super(*args, &block)
      end
      ruby2_keywords(name) if respond_to?(:ruby2_keywords, true)
    end

    def method_missing(name, *args, &block)
      return super if CONVERSIONS.include?(name) || name.end_with?('?', '!')

      if engenho_inside?
        engenho_field(name, args, block)
      elsif KEYWORDS.key?(name)
        engenho_keyword(name, args, block)
      elsif engenho_load_function(name)
        public_send(name, *args, &block)
      else
        raise(*engenho_unknown(name, args, block))
      end
    end

    def respond_to_missing?(name, include_private = false)
      KEYWORDS.key?(name) || Engenho::Gems.function?(name) || super
    end

    def engenho_warnings
      @engenho_warnings ||= []
    end

    # Functions for templates. Helpers may be named like arguments (cidr_block, ref, availability_zones): inside a block, a call that does not fit the
    # helper is a field.
    def engenho_extend(mod)
      extend(mod)
      helpers = mod.instance_methods.map { |name| mod.instance_method(name) }.reject { |m| m.owner.respond_to?(:define_resource) || m.name.end_with?('=', '?', '!') }
      guards = Module.new do
        helpers.each do |helper|
          required = helper.arity.negative? ? -helper.arity - 1 : helper.arity
          define_method(helper.name) do |*args, **options, &block|
            fits = args.size >= required && (args.size != 1 || args[0].is_a?(String) || args[0].is_a?(Symbol))
            if engenho_inside? && !fits && !(args.empty? && options.empty? && block.nil?)
              engenho_field(helper.name, options.empty? ? args : args + [options], block)
            else
              super(*args, **options, &block)
            end
          end
        end
      end
      singleton_class.prepend(guards)
    end

    # Attributes of a typed function in block form: what the block records, as a Hash.
    def engenho_collect(path, &block)
      hash = {}
      engenho_run(Frame.new(hash, path, 0, {}), block)
      hash
    end

    private

    def engenho_frames
      @engenho_frames ||= []
    end

    def engenho_inside?
      !engenho_frames.empty?
    end

    def engenho_keyword(keyword, args, block)
      attributes = args.last.is_a?(Hash) ? args.last : nil
      names = attributes ? args[0...-1] : args
      needed = KEYWORDS.fetch(keyword)
      if names.size > needed
        raise TooManyFieldValuesError, "#{keyword} takes #{needed} name#{'s' unless needed == 1} and a block or a hash, was given #{args.inspect}"
      end
      names.each { |n| engenho_check_name(keyword, n) }
      root = translation[:manifest]
      path = [keyword, *names]
      if names.size < needed && attributes.nil? && block.nil?
        raise ArgumentError, "#{path.join(' ')}: #{needed == 1 ? 'a name is' : "#{needed} names are"} needed, and a block or a hash"
      end

      if keyword == :provider && names.size == 1
        engenho_provider(root, names[0], attributes, block)
      else
        hash = path.reduce(root) { |h, key| engenho_child(h, key) }
        engenho_fill(Frame.new(hash, path, needed - names.size, {}), attributes, block)
      end
      return unless %i[resource data].include?(keyword) && names.size == 2

      Engenho::Reference.new(names[0], names[1], data: keyword == :data)
    end

    # A provider may be configured several times, each with another alias.
    def engenho_provider(root, name, attributes, block)
      hash = {}
      engenho_fill(Frame.new(hash, [:provider, name], 0, {}), attributes, block)
      all = engenho_child(root, :provider)
      key = engenho_key(all, name)
      configured = all[key].is_a?(Array) ? all[key] : [all[key]].compact
      same = configured.find { |c| engenho_get(c, :alias).to_s == engenho_get(hash, :alias).to_s }
      same ? engenho_merge(same, hash) : configured << hash
      all[key] = configured.size == 1 ? configured[0] : configured
    end

    def engenho_fill(frame, attributes, block)
      attributes&.each { |k, v| engenho_set(frame, k, v) }
      engenho_run(frame, block) if block
    end

    def engenho_run(frame, block)
      engenho_frames.push(frame)
      block.lambda? && block.arity.zero? ? block.call : block.call(self)
    ensure
      engenho_frames.pop
    end

    def engenho_field(name, args, block)
      frame = engenho_frames.last
      name = name.to_s.delete_suffix('=').to_sym if name.end_with?('=')
      return engenho_names(frame, name, args, block) if frame.names_left.positive?

      where = (frame.path + [name]).join('.')
      if args.empty? && block.nil?
        raise ArgumentError, "#{where}: \"#{name}\" is a field without a value (or an unknown name); write `#{name} VALUE` or `#{name} do ... end`"
      end
      return engenho_set(frame, name, args[0]) if args.size == 1 && block.nil?

      attributes = args.last.is_a?(Hash) ? args.last : nil
      labels = attributes ? args[0...-1] : args
      if block.nil? && attributes.nil? || !labels.all? { |l| l.is_a?(Symbol) || l.is_a?(String) }
        raise TooManyFieldValuesError, "field: #{where} takes one value, was given #{args.size}: #{args.inspect}"
      end
      if (%i[resource data].include?(name) && labels.size >= 2) || (!labels.empty? && Engenho::Gems.function?(name))
        raise TooManyFieldValuesError, "#{name} #{labels.join(' ')} inside #{frame.path.join(' ')}: a #{name} cannot stand inside another block"
      end

      child = {}
      engenho_fill(Frame.new(child, frame.path + [name, *labels], 0, {}), attributes, block)
      engenho_place(frame, name, labels.reverse.reduce(child) { |inner, label| { label => inner } }, where)
    end

    # `data :aws_ami do; ubuntu do; ...`: names given as blocks.
    def engenho_names(frame, name, args, block)
      attributes = args.last.is_a?(Hash) ? args.last : nil
      labels = attributes ? args[0...-1] : args
      if block.nil? && attributes.nil? || labels.size >= frame.names_left
        raise ArgumentError, "#{(frame.path + [name]).join('.')}: a name and a block or a hash are needed, was given #{args.inspect}"
      end
      path = [name, *labels]
      hash = path.reduce(frame.hash) { |h, key| engenho_child(h, key) }
      engenho_fill(Frame.new(hash, frame.path + path, frame.names_left - path.size, {}), attributes, block)
      nil
    end

    def engenho_set(frame, name, value)
      if frame.names_left.positive?
        raise ArgumentError, "#{(frame.path + [name]).join('.')}: a hash is needed, was given #{value.inspect}" unless value.is_a?(Hash)

        return engenho_fill(Frame.new(engenho_child(frame.hash, name), frame.path + [name], frame.names_left - 1, {}), value, nil)
      end
      key = engenho_key(frame.hash, name)
      if frame.seen[name.to_s] && frame.hash[key] != value
        engenho_warnings << "#{(frame.path + [name]).join('.')} is set more than once; the last value counts"
      end
      frame.seen[name.to_s] = true
      Document.check(value, frame.path + [name])
      frame.hash[key] = value
      nil
    end

    # A nested block given again makes a list, as Terraform reads it.
    def engenho_place(frame, name, child, where)
      key = engenho_key(frame.hash, name)
      there = frame.hash[key]
      frame.hash[key] =
        case there
        when nil then child
        when Hash then SINGLE_BLOCKS.include?(name.to_s) ? engenho_merge(there.dup, child) : [there, child]
        when Array then there + [child]
        else raise ArgumentError, "#{where} has the value #{there.inspect} and cannot be a block as well"
        end
      nil
    end

    def engenho_child(hash, key)
      key = engenho_key(hash, key)
      hash[key] = {} unless hash[key].is_a?(Hash)
      hash[key]
    end

    # :a and "a" are one key.
    def engenho_key(hash, key)
      return key if hash.key?(key)

      other = key.is_a?(Symbol) ? key.to_s : key.to_s.to_sym
      hash.key?(other) ? other : key
    end

    def engenho_get(hash, key)
      hash[engenho_key(hash, key)]
    end

    def engenho_merge(into, from)
      from.each do |k, v|
        key = engenho_key(into, k)
        into[key] = into[key].is_a?(Hash) && v.is_a?(Hash) ? engenho_merge(into[key].dup, v) : v
      end
      into
    end

    def engenho_check_name(keyword, name)
      return if (name.is_a?(Symbol) || name.is_a?(String)) && !name.empty?

      raise ArgumentError, "#{keyword}: a name is a Symbol or a String, was given #{name.inspect}"
    end

    def engenho_load_function(name)
      Engenho::Gems.load_function(name, self)
    end

    def engenho_unknown(name, args, block)
      words = KEYWORDS.keys.join(', ')
      if args.empty? && block.nil?
        return NameError.new("undefined name `#{name}`: neither a local variable, a function nor one of the keywords #{words}", name)
      end
      if args[0].is_a?(Symbol) || args[0].is_a?(String)
        near = Engenho::Gems.nearest_function(name)
        return InvalidSynthesizerKeyError, "#{name} is no function of the gems#{" (#{near}?)" if near} and none of the keywords #{words}; " \
                                           "a resource without a function is written `resource :#{name}, :name do ... end`"
      end
      [InvalidSynthesizerKeyError, "#{name} is none of the keywords #{words}"]
    end
  end
end
