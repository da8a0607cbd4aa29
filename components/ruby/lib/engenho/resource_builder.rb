# frozen_string_literal: true

module Engenho
  # A value that has not the attribute's type.
  class ConstraintError < StandardError; end

  # Typed resource functions. In a module:
  #
  #   include Pangea::Resources::ResourceBuilder   (here Engenho::ResourceBuilder)
  #   define_resource :aws_vpc, required: { cidr_block: :string }, optional: { tags: :map }, outputs: { vpc: :id }
  #   define_data :aws_ami, optional: { most_recent: :bool }
  #
  # make `aws_vpc(:main, { cidr_block: '...' })` (or `aws_vpc(:main) { cidr_block '...' }`) and `data_aws_ami`. Types: :string, :number, :bool,
  # :list, :map, :any, [type] a list of it. In place of required and optional, `attributes_class` is a Dry::Struct; then map, map_present, map_bool,
  # tags and labels name what is written always, when truthy, when not nil, and when not empty. A text that is one "${...}" fits every type.
  module ResourceBuilder
    META = %i[lifecycle depends_on count for_each provider provisioner].freeze

    def self.included(base)
      base.extend(Definitions)
    end

    module Definitions
      def define_resource(type, **definition, &custom)
        pangea_define(:resource, type, type, definition, custom)
      end

      def define_data(type, **definition, &custom)
        pangea_define(:data, :"data_#{type}", type, definition, custom)
      end

      private

      def pangea_define(keyword, function, type, definition, custom)
        schema = definition[:attributes_class] ? StructSchema.new(type, definition) : PlainSchema.new(type, definition)
        outputs = definition.fetch(:outputs, {})
        outputs = outputs.to_h { |name| [name, name] } if outputs.is_a?(Array)
        define_method(function) do |name, attributes = {}, &block|
          raise ArgumentError, "#{function} #{name}: attributes are a hash, were given #{attributes.inspect}" unless attributes.respond_to?(:to_h)

          given = attributes.to_h.transform_keys(&:to_sym)
          given = given.merge(engenho_collect([function, name], &block).transform_keys(&:to_sym)) if block
          meta, own = given.partition { |k, _| META.include?(k) }.map(&:to_h)
          checked = schema.check(own)
          send(keyword, type, name) do
            checked.each { |key, value| method_missing(key, value) }
            instance_exec(self, own, &custom) if custom
            meta.each { |key, value| method_missing(key, value) }
          end
          Engenho::Reference.new(type, name, data: keyword == :data, attributes: checked, outputs: outputs)
        end
      end
    end

    # required: and optional: as hashes of types.
    class PlainSchema
      CHECKS = {
        string: ->(v) { v.is_a?(String) || v.is_a?(Symbol) }, number: ->(v) { v.is_a?(Numeric) }, bool: ->(v) { [true, false].include?(v) },
        list: ->(v) { v.is_a?(Array) }, map: ->(v) { v.is_a?(Hash) }, any: ->(_) { true }
      }.freeze

      def initialize(type, definition)
        @type = type
        @required = definition.fetch(:required, {})
        @types = @required.merge(definition.fetch(:optional, {}))
      end

      def check(attributes)
        unknown = attributes.keys - @types.keys
        unless unknown.empty?
          raise ArgumentError, "#{@type}: unknown attributes #{unknown.inspect}; valid are #{@types.keys.sort.inspect}"
        end
        missing = @required.keys - attributes.compact.keys
        raise ArgumentError, "#{@type}: missing required attributes #{missing.inspect}" unless missing.empty?

        attributes.each do |key, value|
          next if value.nil? || fits?(@types[key], value)

          raise ConstraintError, "#{@type}: attribute :#{key} must be a #{@types[key].inspect}, is #{value.inspect}"
        end
      end

      private

      def fits?(type, value)
        return true if value.is_a?(String) && value.match?(/\A\$\{.+\}\z/m)
        return value.is_a?(Array) && value.all? { |v| fits?(type[0], v) } if type.is_a?(Array)

        CHECKS.fetch(type).call(value)
      end
    end

    # attributes_class: a Dry::Struct of a provider gem.
    class StructSchema
      def initialize(type, definition)
        @type = type
        @definition = definition
      end

      def check(attributes)
        keys = @definition[:attributes_class].schema.to_h { |key| [key.name, key] }
        unknown = attributes.keys - keys.keys
        unless unknown.empty?
          raise ArgumentError, "#{@type}: unknown attributes #{unknown.inspect}; valid are #{keys.keys.sort.inspect}"
        end
        references, literals = attributes.partition { |_, v| v.is_a?(Engenho::Reference) || (v.is_a?(String) && v.match?(/\A\$\{.+\}\z/m)) }.map(&:to_h)
        missing = keys.select { |_, k| k.required? && !k.type.default? }.keys - attributes.keys
        raise ArgumentError, "#{@type}: missing required attributes #{missing.inspect}" unless missing.empty?

        typed = literals.to_h { |key, value| [key, typed_value(keys[key], key, value)] }
        keys.each { |name, key| typed[name] = key.type.evaluate if !attributes.key?(name) && key.type.default? }
        written(typed.merge(references))
      end

      private

      def typed_value(key, name, value)
        key.type.call(value)
      rescue Dry::Types::CoercionError => e
        raise ConstraintError, "#{@type}: attribute :#{name}: #{e.message}"
      end

      def written(values)
        d = @definition
        wanted = Array(d[:map]) + Array(d[:map_present]).select { |k| values[k] } + Array(d[:map_bool]).reject { |k| values[k].nil? }
        wanted += [d[:tags], d[:labels]].compact.select { |k| values[k].respond_to?(:any?) && values[k].any? }
        wanted.to_h { |key| [key, values[key]] }
      end
    end
  end
end
