// Between smp.cc and the interrupt entry.
#pragma once

namespace solaster::kernel {

void answer_tlb_request();

}  // namespace solaster::kernel
