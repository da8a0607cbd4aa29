# frozen_string_literal: true

module Engenho
  # Resource functions that need no gem: those of the providers that are part of this program, and what the bundled architectures use. A gem's
  # function of the same name goes before.
  module Builtin
    include ResourceBuilder

    define_resource :null_resource, optional: { triggers: :map }, outputs: %i[id]
    define_resource :terraform_data, optional: { input: :any, triggers_replace: :any }, outputs: %i[id output]

    random = { keepers: :map }
    characters = { lower: :bool, min_lower: :number, min_numeric: :number, min_special: :number, min_upper: :number, number: :bool,
                   numeric: :bool, override_special: :string, special: :bool, upper: :bool }
    define_resource :random_id, required: { byte_length: :number }, optional: random.merge(prefix: :string), outputs: %i[id hex dec b64_url b64_std]
    define_resource :random_bytes, required: { length: :number }, optional: random, outputs: %i[base64 hex]
    define_resource :random_integer, required: { min: :number, max: :number }, optional: random.merge(seed: :string), outputs: %i[id result]
    define_resource :random_password, required: { length: :number }, optional: random.merge(characters), outputs: %i[id result bcrypt_hash]
    define_resource :random_string, required: { length: :number }, optional: random.merge(characters), outputs: %i[id result]
    define_resource :random_pet, optional: random.merge(length: :number, prefix: :string, separator: :string), outputs: %i[id]
    define_resource :random_shuffle, required: { input: [:string] }, optional: random.merge(result_count: :number, seed: :string),
                                     outputs: %i[id result]
    define_resource :random_uuid, optional: random, outputs: %i[id result]

    content = { content: :string, content_base64: :string, source: :string, directory_permission: :string, file_permission: :string }
    define_resource :local_file, required: { filename: :string }, optional: content.merge(sensitive_content: :string), outputs: %i[id content_sha256]
    define_resource :local_sensitive_file, required: { filename: :string }, optional: content, outputs: %i[id content_sha256]
    define_data :local_file, required: { filename: :string }, outputs: %i[id content]
    define_data :local_sensitive_file, required: { filename: :string }, outputs: %i[id content]

    offsets = %i[years months days hours minutes seconds].to_h { |unit| [:"offset_#{unit}", :number] }
    rotations = %i[years months days hours minutes].to_h { |unit| [:"rotation_#{unit}", :number] }
    define_resource :time_offset, optional: offsets.merge(base_rfc3339: :string, triggers: :map), outputs: %i[id rfc3339]
    define_resource :time_rotating, optional: rotations.merge(rfc3339: :string, rotation_rfc3339: :string, triggers: :map), outputs: %i[id rfc3339]
    define_resource :time_sleep, optional: { create_duration: :string, destroy_duration: :string, triggers: :map }, outputs: %i[id]
    define_resource :time_static, optional: { rfc3339: :string, triggers: :map }, outputs: %i[id rfc3339]

    subject = { subject: :any, dns_names: [:string], ip_addresses: [:string], uris: [:string] }
    define_resource :tls_private_key, required: { algorithm: :string }, optional: { ecdsa_curve: :string, rsa_bits: :number },
                                      outputs: %i[id private_key_pem public_key_pem public_key_openssh]
    define_resource :tls_cert_request, required: { private_key_pem: :string }, optional: subject, outputs: %i[id cert_request_pem]
    define_resource :tls_self_signed_cert,
                    required: { private_key_pem: :string, validity_period_hours: :number, allowed_uses: [:string] },
                    optional: subject.merge(early_renewal_hours: :number, is_ca_certificate: :bool, set_authority_key_id: :bool,
                                            set_subject_key_id: :bool), outputs: %i[id cert_pem]
    define_resource :tls_locally_signed_cert,
                    required: { ca_cert_pem: :string, ca_private_key_pem: :string, cert_request_pem: :string, validity_period_hours: :number,
                                allowed_uses: [:string] },
                    optional: { early_renewal_hours: :number, is_ca_certificate: :bool, set_subject_key_id: :bool }, outputs: %i[id cert_pem]

    define_resource :aws_vpc, optional: { assign_generated_ipv6_cidr_block: :bool, cidr_block: :string, enable_dns_hostnames: :bool,
                                          enable_dns_support: :bool, enable_network_address_usage_metrics: :bool, instance_tenancy: :string,
                                          ipv4_ipam_pool_id: :string, ipv4_netmask_length: :number, ipv6_cidr_block: :string,
                                          ipv6_cidr_block_network_border_group: :string, ipv6_ipam_pool_id: :string,
                                          ipv6_netmask_length: :number, region: :string, tags: :map, tags_all: :map },
                              outputs: %i[id arn]
  end
end
