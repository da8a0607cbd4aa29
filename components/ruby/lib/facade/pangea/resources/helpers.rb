# frozen_string_literal: true

module Pangea
  module Resources
    # Expressions by name, where there is no reference at hand.
    module Helpers
      def ref(type, name, attribute) = "${#{type}.#{name}.#{attribute}}"
      def data_ref(type, name, attribute) = "${data.#{type}.#{name}.#{attribute}}"
      def var(name) = "${var.#{name}}"
      def local(name) = "${local.#{name}}"
    end
  end
end
