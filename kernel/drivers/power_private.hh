// Boot's part of power-off: the register is mapped while there is memory for it.
#pragma once

namespace solaster::kernel {

void power_initialise();

}  // namespace solaster::kernel
