# frozen_string_literal: true

require 'set'

module Engenho
  # The recorded Hash as a JSON document: string keys, references as expressions, the providers that are used under required_providers.
  module Document
    # Where a provider's short name stands for another namespace than hashicorp's.
    SOURCES = {
      'cloudflare' => 'cloudflare/cloudflare', 'github' => 'integrations/github', 'hcloud' => 'hetznercloud/hcloud',
      'akeyless' => 'akeyless-community/akeyless', 'datadog' => 'DataDog/datadog', 'porkbun' => 'cullenmcdermott/porkbun',
      'splunk' => 'splunk/splunk', 'sops' => 'carlpett/sops', 'digitalocean' => 'digitalocean/digitalocean', 'gitlab' => 'gitlabhq/gitlab',
      'grafana' => 'grafana/grafana', 'mongodbatlas' => 'mongodb/mongodbatlas', 'postgresql' => 'cyrilgdn/postgresql',
      'docker' => 'kreuzwerker/docker', 'libvirt' => 'dmacvicar/libvirt', 'proxmox' => 'Telmate/proxmox', 'oci' => 'oracle/oci',
      'newrelic' => 'newrelic/newrelic', 'pagerduty' => 'PagerDuty/pagerduty', 'okta' => 'okta/okta', 'auth0' => 'auth0/auth0',
      'flux' => 'fluxcd/flux', 'kubectl' => 'gavinbunney/kubectl', 'ovh' => 'ovh/ovh', 'scaleway' => 'scaleway/scaleway',
      'linode' => 'linode/linode', 'vultr' => 'vultr/vultr', 'minio' => 'aminueza/minio', 'tailscale' => 'tailscale/tailscale'
    }.freeze

    module_function

    def build(manifest)
      document = plain(manifest, [])
      add_providers(document)
      document
    end

    # While the template runs: only then is it known which line a wrong value comes from.
    def check(value, path)
      case value
      when String, Symbol, Integer, true, false, nil then nil
      else plain(value, path)
      end
    end

    def plain(value, path)
      case value
      when Hash
        value.each_with_object({}) { |(k, v), out| out[k.to_s] = plain(v, path + [k]) }
      when Array, Set
        value.to_a.map.with_index { |v, i| in_depends_on?(path) && reference?(v) ? address(v) : plain(v, path + [i]) }
      when String
        text = value.encoding == Encoding::UTF_8 ? value : value.encode(Encoding::UTF_8)
        raise ArgumentError, "#{path.join('.')}: a text that is not UTF-8" unless text.valid_encoding?

        text
      when Symbol then value.to_s
      when Integer, true, false, nil then value
      when Float
        raise ArgumentError, "#{path.join('.')}: #{value} is no JSON number" unless value.finite?

        value
      when Rational then value.to_f
      else
        other(value, path)
      end
    end

    def other(value, path)
      return "${#{address(value)}}" if reference?(value)
      return value.to_f if defined?(BigDecimal) && value.is_a?(BigDecimal)
      return plain(value.to_h, path) if value.is_a?(Struct) || (defined?(Dry::Struct) && value.is_a?(Dry::Struct))
      return plain(value.to_hash, path) if value.respond_to?(:to_hash)
      return plain(value.to_ary, path) if value.respond_to?(:to_ary)
      return plain(value.to_str, path) if value.respond_to?(:to_str)

      raise ArgumentError, "#{path.join('.')}: #{value.class} is no value of a Terraform document"
    end

    def reference?(value)
      value.is_a?(Reference) || (defined?(Pangea::Resources::ResourceReference) && value.is_a?(Pangea::Resources::ResourceReference))
    end

    def address(reference)
      reference.is_a?(Reference) ? reference.address : "#{reference.type}.#{reference.name}"
    end

    def in_depends_on?(path)
      path.last.to_s == 'depends_on'
    end

    def add_providers(document)
      used = used_providers(document)
      return if used.empty?

      terraform = document['terraform'] ||= {}
      required = terraform['required_providers'] ||= {}
      return unless required.is_a?(Hash)   # a list of blocks: left as it was written

      used.each { |name| required[name] ||= { 'source' => SOURCES.fetch(name, "hashicorp/#{name}") } }
    end

    # The names of provider blocks, and what each resource uses: its `provider` argument, else its type's first word. Terraform's own
    # terraform_data needs none.
    def used_providers(document)
      used = Set.new
      used.merge(document['provider'].keys) if document['provider'].is_a?(Hash)
      %w[resource data].each do |kind|
        types = document[kind]
        next unless types.is_a?(Hash)

        types.each do |type, instances|
          (instances.is_a?(Hash) ? instances.values : []).flatten.each do |body|
            explicit = body.is_a?(Hash) ? body['provider'] : nil
            name = explicit.is_a?(String) ? explicit.delete_prefix('${').split('.').first : type.split('_').first
            used << name unless name == 'terraform'
          end
        end
      end
      used.to_a.sort
    end
  end
end
