# A template that runs specs of a provider gem with the gem's own RSpec, inside the evaluator. Variables: gem, from, count. Outputs: how many examples ran, what
# failed, and for each resource the attributes that its spec gives it with the document that the spec gets for them.
require 'json'
require 'stringio'

template :specs do
  root = "/gems/#{$pangea_variables['gem']}"
  Dir.glob("#{root}/vendor/bundle/ruby/*/gems/{rspec*,diff-lcs*}/lib").each { |dir| $LOAD_PATH.push(dir) }
  $LOAD_PATH.unshift("#{root}/spec")
  # Coverage is of no use here, and it wants to write files.
  $LOADED_FEATURES << 'simplecov.rb'
  module ::SimpleCov
    def self.start(*) = nil
  end

  # A few specs are of resources that the gem does not have.
  files = Dir.glob("#{root}/spec/resources/**/*_spec.rb").sort
  files = files.select { |f| File.directory?("#{root}/lib/pangea/resources/#{File.basename(f, '_spec.rb')}") }[$pangea_variables['from'], $pangea_variables['count']]
  require 'rspec/core'
  require 'pangea/testing'
  resources = {}
  RSpec.configure do |config|
    config.after do |example|
      type = example.metadata[:full_description][/:(aws_\w+)/, 1]
      next if type.nil?

      %i[required_attrs all_attrs].each do |name|
        next if !respond_to?(name) || resources.dig(type, name)

        synth = TerraformSynthesizer.new
        synth.extend(described_class)
        synth.public_send(type, name.to_s, public_send(name))
        document = JSON.parse(JSON.generate(synth.synthesis))
        (resources[type] ||= {})[name] = { attributes: JSON.parse(JSON.generate(public_send(name))), document: document.dig('resource', type, name.to_s) }
      end
    end
  end
  out = StringIO.new
  status = RSpec::Core::Runner.run(['--no-color', '--format', 'json', *files], out, out)
  report = JSON.parse(out.string[out.string.index('{"version"')..])
  failed = report['examples'].select { |e| e['status'] == 'failed' }
  # `ref.name`, `ref.type`: attributes that the gem's own ResourceReference has as methods. Its specs of them cannot pass with any interpreter.
  shadowed, failed = failed.partition do |e|
    line = e.dig('exception', 'backtrace').to_a.map { |l| l.match(%r{\A(/gems/\S+_spec\.rb):(\d+)}) }.compact.first
    attribute = line && File.readlines(line[1])[line[2].to_i - 1][/\bref\.(\w+)/, 1]
    attribute && Pangea::Resources::ResourceReference.method_defined?(attribute)
  end
  output(:files) { value files.size }
  output(:status) { value status }
  output(:examples) { value report['summary']['example_count'] }
  output(:errors) { value report['summary']['errors_outside_of_examples_count'] }
  output(:messages) { value(report['messages'] || []) }
  output(:shadowed) { value shadowed.size }
  output(:failures) { value failed.map { |e| "#{e['full_description']}: #{e.dig('exception', 'message')}" } }
  output(:resources) { value resources }
end
