// Boot's part of the random generator.
#pragma once

namespace solaster::kernel {

// Seeds it, or refuses to start.
void entropy_initialise();

}  // namespace solaster::kernel
