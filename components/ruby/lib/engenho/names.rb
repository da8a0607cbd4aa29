# frozen_string_literal: true

module Engenho
  class UnknownName < StandardError; end

  # `<provider>::<component>::<profile>`: what a gem registered under the name, its pangea-gem.yaml, the convention (templates/<a>/<b>.rb, or
  # Pangea::Architectures::<A>::<B> with PROFILES), and last what this program brings for gems that ship none.
  module Names
    BUNDLED = '/engenho/lib/bundled'

    module_function

    def architecture?(name)
      name.to_s.include?('::')
    end

    # Renders it on the synthesizer.
    def build(name, synthesizer, inputs)
      return if registered(name, synthesizer, inputs) || indexed(name, synthesizer, inputs) || by_convention(name, synthesizer, inputs) ||
                by_class(name, synthesizer, inputs) || bundled(name, synthesizer, inputs)

      raise UnknownName, unknown(name)
    end

    def registered(name, synthesizer, inputs)
      architecture_files.each { |f| require f }
      architecture = Pangea.architecture_for(name)
      apply(architecture, synthesizer, inputs) if architecture
    end

    # The files of a gem in which it may register names, without its thousands of resources.
    def architecture_files
      Gems.all.reject { |g| g.name == 'pangea-core' }.flat_map do |g|
        Dir.glob("#{g.dir}/lib/{pangea,#{g.name},#{g.name.tr('-', '/')}}/architectures.rb")
      end
    end

    def apply(architecture, synthesizer, inputs)
      synthesizer.instance_exec(Inputs.of(inputs), &architecture.block)
      true
    end

    # pangea-gem.yaml: architectures: {"a::b::c": {file: templates/x.rb, template: name}} or {class: Pangea::Architectures::X, profile: dev, require: x}
    def indexed(name, synthesizer, inputs)
      Gems.all.each do |gem|
        entry = index(gem).dig('architectures', name)
        next if entry.nil?

        entry = { 'file' => entry } if entry.is_a?(String)
        if entry['file']
          path = File.expand_path(entry['file'], gem.dir)
          raise UnknownName, "#{name}: #{gem.name}'s pangea-gem.yaml names #{entry['file']}, outside of the gem" unless path.start_with?("#{gem.dir}/")
          raise UnknownName, "#{name}: #{gem.name}'s pangea-gem.yaml names #{entry['file']}, which is not there" unless File.file?(path)

          return from_file(path, entry['template'], name, synthesizer, inputs)
        end
        require entry['require'] if entry['require']
        return from_class(Object.const_get(entry.fetch('class')), entry['profile'], name, synthesizer, inputs)
      end
      false
    end

    def index(gem)
      file = "#{gem.dir}/pangea-gem.yaml"
      return {} unless File.file?(file)

      require 'yaml'
      loaded = YAML.safe_load(File.read(file))
      loaded.is_a?(Hash) ? loaded : {}
    end

    def by_convention(name, synthesizer, inputs)
      provider, component, profile = name.split('::')
      return false if profile.nil?

      Gems.all.each do |gem|
        path = "#{gem.dir}/templates/#{provider}/#{component}.rb"
        return from_file(path, profile, name, synthesizer, inputs) if File.file?(path)
      end
      false
    end

    def from_file(path, template, name, synthesizer, inputs)
      templates = Templates.load(path)
      if template && !templates.names.include?(template) && Pangea.architecture_for(name).nil?
        raise UnknownName, "#{name}: unknown; #{File.basename(path)} has #{templates.names.join(', ')}"
      end
      architecture = Pangea.architecture_for(name)
      return apply(architecture, synthesizer, inputs) if architecture

      synthesizer.instance_exec(&templates.choose(template, File.basename(path)))
      true
    end

    def by_class(name, synthesizer, inputs)
      parts = name.split('::')
      load_architecture_of(parts)
      if (mod = constant(Object, parts)) && mod.respond_to?(:build)   # Pangea::Architectures::Network itself
        return from_class(mod, nil, name, synthesizer, inputs)
      end
      *path, profile = parts
      mod = defined?(Pangea::Architectures) && (constant(Pangea::Architectures, path) || constant(Pangea::Architectures, [path.last]))
      return false unless mod && mod.respond_to?(:build) && mod.const_defined?(:PROFILES)

      from_class(mod, profile, name, synthesizer, inputs)
    end

    # A gem's file of the class, where its main file has not loaded it.
    def load_architecture_of(parts)
      names = parts.map { |p| p.gsub(/([a-z0-9])([A-Z])/, '\1_\2').downcase } - %w[pangea architectures]
      candidates = [names, names[0...-1], names[1...-1]].reject { |n| n.nil? || n.empty? }
      Gems.all.each do |gem|
        candidates.each do |n|
          ["#{n.join('/')}.rb", "#{n.join('/')}/architecture.rb"].each do |f|
            file = "#{gem.dir}/lib/pangea/architectures/#{f}"
            return require(file) if File.file?(file)
          end
        end
      end
      nil
    end

    # The constant of that path, whatever the case: aws is AWS or Aws.
    def constant(from, path)
      path.reduce(from) do |mod, part|
        name = mod.constants.find { |c| c.to_s.downcase == part.downcase.delete('_') }
        return nil if name.nil? || !mod.const_get(name).is_a?(Module)

        mod.const_get(name)
      end
    end

    def from_class(mod, profile, name, synthesizer, inputs)
      defaults = {}
      if profile
        profiles = mod.const_get(:PROFILES)
        key = profiles.keys.find { |k| k.to_s == profile.to_s }
        if key.nil?
          raise UnknownName, "#{name}: #{mod} has no profile #{profile}; it has #{profiles.keys.join(', ')}"
        end
        defaults = profiles[key]
      end
      mod.build(synthesizer, Inputs.of(defaults).merge(inputs))
      true
    end

    def bundled(name, synthesizer, inputs)
      provider, component, profile = name.split('::')
      file = profile && provider.match?(/\A[a-z0-9_]+\z/) && component.match?(/\A[a-z0-9_]+\z/) && File.join(BUNDLED, provider, "#{component}.rb")
      return false unless file && File.file?(file)

      from_file(file, profile, name, synthesizer, inputs)
    end

    def known
      names = Pangea.architectures.keys
      Gems.all.each { |g| names |= (index(g)['architectures'] || {}).keys }
      names | Dir.glob("#{BUNDLED}/*/*.rb").flat_map { |f| bundled_profiles(f) }
    end

    def bundled_profiles(file)
      component = File.basename(file, '.rb')
      File.read(file).scan(/^template :(\w+)/).flatten.map { |p| "#{File.basename(File.dirname(file))}::#{component}::#{p}" }
    end

    def unknown(name)
      gems = Gems.all.map(&:name)
      "unknown architecture \"#{name}\" (gems: #{gems.empty? ? 'none' : gems.join(', ')}); known are #{known.sort.join(', ')}"
    end
  end
end
