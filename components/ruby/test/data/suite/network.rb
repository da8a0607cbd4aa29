require_relative 'sizes'

template :network do
  provider(:aws) { region $pangea_variables.fetch('region') }
  vpc = aws_vpc(:main, { cidr_block: $pangea_variables.fetch('cidr'), tags: { 'Name' => 'main' } })
  Sizes::SUBNETS.times do |i|
    resource(:aws_subnet, :"s#{i}") { vpc_id vpc.id; cidr_block "10.0.#{i}.0/24" }
  end
  output(:vpc_id) { value vpc.id }
end
