module Sizes
  SUBNETS = 3
end
