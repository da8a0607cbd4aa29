#pragma once
#include "engenho/pangea/receipt.h"
