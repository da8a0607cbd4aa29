# frozen_string_literal: true

require 'json'
require 'stringio'
require 'engenho/reference'
require 'engenho/document'
require 'engenho/gems'
require 'engenho/compiled'
require 'engenho/templates'
require 'engenho/inputs'
require 'engenho/names'
require 'engenho/recorder'
require 'engenho/resource_builder'
require 'engenho/builtin'
require 'engenho/failure'

module Engenho
  # One call in a process of its own: a request as JSON in, an answer as JSON out. {"ok": {...}} or {"error": {...}}.
  module Runner
    TREE = '/src'

    module_function

    def run(text)
      $stdout.sync = $stderr.sync = true   # what a template wrote is part of an error, even when the process is killed
      request = JSON.parse(text)
      JSON.generate({ 'ok' => answer(request) })
    rescue Exception => e # rubocop:disable Lint/RescueException -- exit, interrupts and memory as well
      JSON.generate({ 'error' => Failure.describe(e) })
    end

    def answer(request)
      Gems.setup(request['gems'])
      case request['do']
      when 'compile' then compile(request)
      when 'classes' then classes(request)
      when 'inspect' then inspect_gem
      when 'version' then { 'version' => RUBY_VERSION }
      else raise ArgumentError, "unknown request #{request['do'].inspect}"
      end
    end

    def compile(request)
      variables = request['variables']
      export(variables)
      $LOAD_PATH.unshift(TREE, "#{TREE}/lib") if request['tree']
      Gems.load_all
      synthesizer = TerraformSynthesizer.new
      extend_with_functions(synthesizer)
      render(synthesizer, request, variables)
      config = Document.build(synthesizer.synthesis)
      raise UnknownName, 'nothing was rendered: the template has no resource, output or other block' if request['smoke'] && config.empty?

      { 'config' => config, 'warnings' => synthesizer.engenho_warnings }
    end

    def render(synthesizer, request, variables)
      name = request['template_name'].to_s
      templates = nil
      if request['source']
        templates = Templates.evaluate(request['source'])
        file = 'template.rb'
      elsif request['path']
        path = File.join(TREE, request['path'])
        raise LoadError, "#{request['path']} is not there" unless File.file?(path)

        Dir.chdir(File.dirname(path))
        templates = Templates.load(path)
        file = request['path']
      end
      if templates.nil? || (Names.architecture?(name) && !templates.names.include?(name))
        Names.build(name, synthesizer, variables)
      else
        synthesizer.instance_exec(&templates.choose(name, file))
      end
    end

    # $pangea_variables and ENV; the process ends with the compile, and with it both.
    def export(variables)
      $pangea_variables = variables
      $pangea_inputs = variables
      $pangea_input = variables
      variables.each do |key, value|
        next if key.empty? || key.include?('=') || key.include?("\0")

        text = value.is_a?(String) ? value : value.is_a?(Hash) || value.is_a?(Array) ? JSON.generate(value) : value.to_s
        ENV[key] = text unless text.include?("\0")
      end
    end

    def extend_with_functions(synthesizer)
      modules = Pangea::ResourceRegistry.registered_modules.dup
      modules << Pangea::Resources::Helpers if defined?(Pangea::Resources::Helpers)
      modules << Pangea::Outputs if defined?(Pangea::Outputs)
      modules.uniq.each { |m| synthesizer.engenho_extend(m) }
    end

    def classes(request)
      Gems.load_all
      Names.architecture_files.each { |f| require f }
      Gems.all.each { |g| Dir.glob("#{g.dir}/lib/pangea/architectures/*.rb").sort.each { |f| require f } }
      found = defined?(Pangea::Architectures) ? below(Pangea::Architectures) : []
      present, missing = request['expected'].partition { |name| constant?(name) }
      { 'architectures' => (found + Pangea.architectures.keys).uniq.sort, 'present' => present, 'missing' => missing }
    end

    def below(mod)
      mod.constants.sort.flat_map do |name|
        value = mod.const_get(name)
        next [] unless value.is_a?(Module) && value.name&.start_with?("#{mod.name}::")

        [value.name] + below(value)
      end
    end

    def constant?(name)
      Object.const_get(name)
      true
    rescue NameError
      false
    end

    def inspect_gem
      gem = Gems.all.first
      file = Dir.glob("#{gem.dir}/*.gemspec").min
      raise LoadError, "#{gem.name} has no .gemspec" if file.nil?

      require 'rubygems'
      Dir.chdir(gem.dir)
      # Specifications ask git for their list of files; nothing here needs it, and there are no processes in the sandbox.
      Kernel.module_eval { define_method(:`) { |_command| '' } }
      IO.define_singleton_method(:popen) { |*_command, **_options, &block| block ? block.call(StringIO.new) : StringIO.new }
      spec = ::Gem::Specification.load(file)
      raise LoadError, "#{File.basename(file)} cannot be read as a gem specification" if spec.nil?

      { 'name' => spec.name, 'version' => spec.version.to_s, 'required_ruby_version' => spec.required_ruby_version.to_s,
        'summary' => spec.summary.to_s, 'dependencies' => spec.runtime_dependencies.map { |d| "#{d.name} #{d.requirement}" } }
    end
  end
end
