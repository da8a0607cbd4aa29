# frozen_string_literal: true

module Pangea
  # Outputs in categories, which can be left out: :data for other templates, :display for people.
  module Outputs
    DEFAULT_CONFIG = { display: true, data: true }.freeze

    def pangea_output_config = @pangea_output_config || DEFAULT_CONFIG.dup

    def pangea_output_config=(config)
      @pangea_output_config = DEFAULT_CONFIG.merge(config)
    end

    def pangea_output(name, category: :data, &block)
      output(name, &block) if pangea_output_config.fetch(category, true) && pangea_output_config.values.any?
    end

    def data_output(name, &block) = pangea_output(name, category: :data, &block)
    def display_output(name, &block) = pangea_output(name, category: :display, &block)

    def suppress_all_outputs!
      self.pangea_output_config = { display: false, data: false }
    end

    def suppress_display_outputs!
      self.pangea_output_config = { display: false, data: true }
    end

    def enable_all_outputs!
      self.pangea_output_config = DEFAULT_CONFIG
    end
  end
end
