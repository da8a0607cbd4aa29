# frozen_string_literal: true

module Engenho
  # A resource or data source in another's expression: `vpc.id` is "${aws_vpc.main.id}", `vpc[0].id` "${aws_vpc.main[0].id}", `vpc[:id]` and
  # `vpc.ref(:id)` as `vpc.id`. The reference itself, used as a value, is the whole object; in depends_on, its address.
  class Reference
    attr_reader :type, :resource_attributes, :outputs

    def initialize(type, name, data: false, attributes: {}, outputs: {}, index: nil)
      @type = type.to_s
      @name = name
      @data = data
      @resource_attributes = attributes
      @outputs = outputs
      @index = index
    end

    # The resource's name in the template, unless its definition says that `name` is an output. The attribute is always `ref(:name)`.
    def name
      @outputs.key?(:name) ? ref(:name) : @name
    end

    def address
      "#{'data.' if @data}#{@type}.#{@name}#{"[#{@index.inspect}]" unless @index.nil?}"
    end

    def ref(attribute)
      "${#{address}.#{@outputs.fetch(attribute.to_sym, attribute)}}"
    end

    def [](key)
      case key
      when Integer then Reference.new(@type, @name, data: @data, attributes: @resource_attributes, outputs: @outputs, index: key)
      else ref(key)
      end
    end

    # for_each's instance: `buckets.each_key("logs").arn`.
    def instance(key)
      Reference.new(@type, @name, data: @data, attributes: @resource_attributes, outputs: @outputs, index: key)
    end

    def id = ref(:id)
    def arn = ref(:arn)
    def resource_type = @type.to_sym
    def to_s = "${#{address}}"
    def to_h = { type: @type, name: @name, attributes: @resource_attributes, outputs: @outputs }
    def inspect = "#<reference #{address}>"

    def method_missing(name, *args)
      return super unless args.empty? && name.match?(/\A[a-z_][a-z0-9_]*\z/) && !CONVERSIONS.include?(name)

      ref(name)
    end

    def respond_to_missing?(name, include_private = false)
      (name.match?(/\A[a-z_][a-z0-9_]*\z/) && !CONVERSIONS.include?(name)) || super
    end
  end
end
