# frozen_string_literal: true

module Engenho
  # The gems of one compile: load path, what old interpreters lack, and resource functions that are loaded when they are first called. A provider
  # gem has thousands of resource files; loading all of them takes seconds, one takes milliseconds.
  module Gems
    Gem = Struct.new(:name, :dir)
    # Development tools, and the one gem with a C extension: Ruby brings its own.
    SKIPPED = /\A(bigdecimal|rspec|rspec-.*|rake|simplecov.*|docile|diff-lcs)\z/.freeze
    RESOURCE_LINE = %r{^\s*require(_relative)?\s*\(?\s*['"](\./)?pangea/(resources|data)/[^'"]*['"]\s*\)?\s*$}.freeze

    class << self
      attr_reader :all

      def setup(gems)
        @all = gems.map { |g| Gem.new(g['name'], g['dir']) }
        @loaded = {}
        libs = @all.map { |g| "#{g.dir}/lib" } + vendored
        $LOAD_PATH.unshift(*libs.select { |d| File.directory?(d) })
        const_added_on_old_rubies
      end

      # Files that a compile of these gems may load, but for the resources: those are thousands, and few of them are used.
      def compilable
        vendored_roots = vendored
        own = all.flat_map { |g| Dir.glob("#{g.dir}/lib/**/*.rb").reject { |f| f.include?('/lib/pangea/resources/') && f.match?(%r{/[a-z0-9]+_[a-z0-9_]+/(resource|types)\.rb\z}) } }
        (own + vendored_roots.flat_map { |dir| Dir.glob("#{dir}/**/*.rb") }).select { |f| File.file?(f) && File.size(f) < 1 << 20 }.first(2000)
      end

      # Parts of Ruby's own library that the public gems load. The zygote calls it once, before the first compile that has gems.
      def preload
        %w[set json bigdecimal bigdecimal/util date time delegate weakref singleton forwardable monitor securerandom uri socket ipaddr net/http digest
           logger pathname tempfile open3 erb yaml base64].each do |library|
          require library
        rescue LoadError
          next   # not part of this version of Ruby
        end
      end

      # Requires the gem's main file, but for its resource files; those come one by one.
      def load(gem)
        return if @loaded[gem.name]

        @loaded[gem.name] = true
        main = ["#{gem.dir}/lib/#{gem.name}.rb", "#{gem.dir}/lib/#{gem.name.tr('-', '/')}.rb"].find { |f| File.file?(f) }
        return if main.nil?
        return require(main) unless File.directory?("#{gem.dir}/lib/pangea/resources")

        text = File.read(main)
        lazy = text.gsub(RESOURCE_LINE, '')
        return require(main) if lazy == text || gem.name == 'pangea-core'

        require 'pangea-core'
        $LOADED_FEATURES << File.realpath(main)
        eval(lazy, TOPLEVEL_BINDING, main, 1)
        watch_constants
      end

      # Everything that a compile may want before the template runs.
      def load_all
        require 'terraform-synthesizer'
        require 'pangea-core'
        TerraformSynthesizer.prepend(Recorder) unless TerraformSynthesizer.include?(Recorder)
        # Providers first: another gem's `require` of one must find it there, with its resources still to come.
        all.partition { |g| File.directory?("#{g.dir}/lib/pangea/resources") }.flatten.each { |g| load(g) }
      end

      def function?(name)
        name.match?(/\A[a-z][a-z0-9_]*\z/) && (!resource_file(name).nil? || Builtin.method_defined?(name))
      end

      # Defines the resource function `name` on the synthesizer; false when no gem has it.
      def load_function(name, synthesizer)
        file = resource_file(name)
        return builtin(name, synthesizer) if file.nil?

        resources = Pangea::Resources
        require file
        mod = @functions[name] ||= begin
          type = name.to_s.delete_prefix('data_').delete('_')
          named = resources.constants.find { |c| c.to_s.downcase == type }
          candidates = [named && resources.const_get(named), *Pangea::ResourceRegistry.registered_modules].compact
          candidates.find { |m| m.is_a?(Module) && m.method_defined?(name) }
        end
        return false if mod.nil?

        synthesizer.extend(mod)
        true
      end

      # Pangea::Resources::AWSM2Application is in aws_m2_application.
      def file_of_constant(constant)
        @by_constant ||= all.reverse.flat_map { |g| Dir.glob("#{g.dir}/lib/pangea/resources/*/resource.rb") }
                            .to_h { |f| [File.basename(File.dirname(f)).delete('_'), f] }
        @by_constant[constant.to_s.downcase]
      end

      def nearest_function(name)
        prefix = name.to_s.split('_').first
        names = all.flat_map { |g| Dir.glob("#{g.dir}/lib/pangea/resources/#{prefix}_*/resource.rb").map { |f| File.basename(File.dirname(f)) } }
        names |= Builtin.instance_methods(false).map(&:to_s)
        names |= Pangea::ResourceRegistry.registered_modules.flat_map { |m| m.instance_methods.map(&:to_s) }
        names.select { |n| n.size.between?(name.size - 2, name.size + 2) }.map { |n| [distance(n, name.to_s), n] }.min
             &.then { |d, n| n if d <= 2 }
      end

      private

      def builtin(name, synthesizer)
        return false unless Builtin.method_defined?(name)

        # This one alone: others of its functions may be a gem's.
        function = Builtin.instance_method(name)
        synthesizer.extend(Module.new { define_method(name, function) })
        true
      end

      def resource_file(name)
        @files ||= {}
        @functions ||= {}
        @files.fetch(name) do
          plain = name.to_s
          @files[name] = (all || []).filter_map do |g|
            [plain, plain.delete_prefix('data_')].map { |n| "#{g.dir}/lib/pangea/resources/#{n}/resource.rb" }.find { |f| File.file?(f) }
          end.first
        end
      end

      # Pure-Ruby gems that a gem carries in vendor/bundle; of one name the newest.
      def vendored
        found = {}
        all.each do |gem|
          Dir.glob("#{gem.dir}/vendor/bundle/ruby/*/gems/*").sort.each do |dir|
            name, version = File.basename(dir).match(/\A(.+)-(\d[^-]*)\z/)&.captures
            next if name.nil? || name.match?(SKIPPED)

            order = version.split('.').map(&:to_i)
            found[name] = [order, dir] if found[name].nil? || (found[name][0] <=> order) == -1
          end
        end
        found.sort.map { |name, (_, dir)| name == 'concurrent-ruby' ? "#{dir}/lib/concurrent-ruby" : "#{dir}/lib" }
      end

      # Zeitwerk wants to hear of each new class; Ruby tells of it since 3.2.
      def const_added_on_old_rubies
        return if Module.private_method_defined?(:const_added)

        Module.class_eval do
          private def const_added(_name); end
        end
        name_of = Module.instance_method(:name)
        @const_added = TracePoint.new(:class) do |point|
          name = name_of.bind_call(point.self)
          next if name.nil? || name.start_with?('#')

          outer, _, inner = name.rpartition('::')
          (outer.empty? ? Object : Object.const_get(outer)).send(:const_added, inner.to_sym)
        end
        @const_added.enable
      end

      # A module of a resource that has not been loaded yet (Pangea::Resources::AWSVpc).
      def watch_constants
        return if Pangea::Resources.singleton_class.method_defined?(:const_missing, false)

        Pangea::Resources.define_singleton_method(:const_missing) do |constant|
          file = Engenho::Gems.file_of_constant(constant)
          file && require(file) && const_defined?(constant, false) ? const_get(constant, false) : super(constant)
        end
      end

      def distance(a, b)
        row = (0..b.size).to_a
        a.each_char.with_index(1) do |x, i|
          last = row[0]
          row[0] = i
          b.each_char.with_index(1) do |y, j|
            last, row[j] = row[j], x == y ? last : [last, row[j], row[j - 1]].min + 1
          end
        end
        row[-1]
      end
    end
  end
end
