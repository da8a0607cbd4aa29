# frozen_string_literal: true

# aws::vpc::<profile> for gems that ship no such architecture. Inputs: region, cidr (or cidr_block), name, tags. Trying out has defaults, production has
# none.
module Engenho
  module Bundled
    DEFAULTS = { 'dev' => { 'region' => 'us-east-1', 'cidr' => '10.0.0.0/16' },
                 'staging' => { 'region' => 'us-east-1', 'cidr' => '10.1.0.0/16' } }.freeze

    # The attributes that every profile shares.
    def self.vpc(synthesizer, profile)
      inputs = $pangea_inputs
      given = inputs['cidr'] || inputs['cidr_block']
      inputs = DEFAULTS.fetch(profile, {}).merge(inputs)
      region = inputs.fetch('region') { raise ArgumentError, "aws::vpc::#{profile}: the variable region is needed" }
      cidr = given || inputs['cidr'] || raise(ArgumentError, "aws::vpc::#{profile}: the variable cidr is needed")
      name = (inputs['name'] || 'main').to_s
      synthesizer.instance_exec do
        provider(:aws) { region region }
        tags = { 'Name' => name, 'Profile' => profile, 'ManagedBy' => 'pangea' }.merge(inputs['tags'] || {})
        vpc = aws_vpc(name.tr('-', '_').to_sym,
                      { cidr_block: cidr, enable_dns_support: true, enable_dns_hostnames: true, tags: tags })
        output(:vpc_id) { value vpc.id }
      end
    end
  end
end

template :dev do
  Engenho::Bundled.vpc(self, 'dev')
end

template :staging do
  Engenho::Bundled.vpc(self, 'staging')
end

template :production do
  Engenho::Bundled.vpc(self, 'production')
end
