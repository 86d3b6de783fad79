// kernel/abi against the system's own headers: sizes, offsets, numbers.
#include "kernel/abi/elf.hh"
#include "kernel/abi/file.hh"
#include "kernel/abi/memory.hh"
#include "kernel/abi/signal.hh"
#include "kernel/abi/task.hh"
#include "kernel/abi/time.hh"
#include "net/base/result.hh"

#include <gtest/gtest.h>

#include <asm/prctl.h>
#include <asm/unistd_64.h>
#include <dirent.h>
#include <elf.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <linux/sched.h>
#include <linux/stat.h>
#include <poll.h>
#include <sys/auxv.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/sysinfo.h>
#include <sys/times.h>
#include <sys/ucontext.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <cerrno>
#include <csignal>
#include <cstring>

namespace lx = solaster::kernel::abi;

#define SAME(ours, theirs) EXPECT_EQ(uint64_t(ours), uint64_t(theirs)) << #theirs
#define SAME_SIZE(ours, theirs) EXPECT_EQ(sizeof(ours), sizeof(theirs)) << #theirs
#define SAME_OFFSET(ours, field, theirs, their_field) \
  EXPECT_EQ(offsetof(ours, field), offsetof(theirs, their_field)) << #theirs "::" #their_field

TEST(abi, elf_structures_are_elf_h) {
  SAME_SIZE(lx::elf_header, Elf64_Ehdr);
  SAME_SIZE(lx::elf_phdr, Elf64_Phdr);
  SAME_SIZE(lx::elf_shdr, Elf64_Shdr);
  SAME_SIZE(lx::elf_sym, Elf64_Sym);
  SAME_SIZE(lx::elf_verdef, Elf64_Verdef);
  SAME_SIZE(lx::elf_verdaux, Elf64_Verdaux);
  SAME_OFFSET(lx::elf_header, phoff, Elf64_Ehdr, e_phoff);
  SAME_OFFSET(lx::elf_phdr, vaddr, Elf64_Phdr, p_vaddr);
  SAME_OFFSET(lx::elf_phdr, memsz, Elf64_Phdr, p_memsz);
  SAME_OFFSET(lx::elf_sym, value, Elf64_Sym, st_value);
  SAME(lx::elf_et_dyn, ET_DYN);
  SAME(lx::elf_em_x86_64, EM_X86_64);
  SAME(lx::elf_pt_interp, PT_INTERP);
  SAME(lx::elf_pt_gnu_relro, PT_GNU_RELRO);
  SAME(lx::elf_dt_verdef, DT_VERDEF);
  SAME(lx::elf_dt_versym, DT_VERSYM);
  SAME(lx::elf_dt_verdefnum, DT_VERDEFNUM);
  SAME(lx::elf_dt_hash, DT_HASH);
  SAME(lx::elf_dt_symtab, DT_SYMTAB);
}

TEST(abi, auxiliary_vector_types_are_linux) {
  SAME(lx::at_phdr, AT_PHDR);
  SAME(lx::at_random, AT_RANDOM);
  SAME(lx::at_execfn, AT_EXECFN);
  SAME(lx::at_sysinfo_ehdr, AT_SYSINFO_EHDR);
  SAME(lx::at_hwcap2, AT_HWCAP2);
  SAME(lx::at_secure, AT_SECURE);
  SAME(lx::at_minsigstksz, AT_MINSIGSTKSZ);
  SAME(lx::at_platform, AT_PLATFORM);
  SAME(lx::at_clktck, AT_CLKTCK);
}

TEST(abi, files_are_linux) {
  SAME_SIZE(lx::stat, struct stat);
  SAME_OFFSET(lx::stat, mode, struct stat, st_mode);
  SAME_OFFSET(lx::stat, size, struct stat, st_size);
  SAME_OFFSET(lx::stat, ctime, struct stat, st_ctim);
  SAME_SIZE(lx::statx, struct statx);
  SAME_OFFSET(lx::statx, ino, struct statx, stx_ino);
  SAME_OFFSET(lx::statx, mtime, struct statx, stx_mtime);
  SAME_OFFSET(lx::statx, dev_minor, struct statx, stx_dev_minor);
  SAME_SIZE(lx::statfs, struct statfs);
  SAME_OFFSET(lx::statfs, namelen, struct statfs, f_namelen);
  SAME_OFFSET(lx::dirent64, name, struct dirent64, d_name);
  SAME_OFFSET(lx::dirent64, reclen, struct dirent64, d_reclen);
  SAME_SIZE(lx::iovec, struct iovec);
  SAME_SIZE(lx::pollfd, struct pollfd);
  SAME_SIZE(lx::winsize, struct winsize);
  SAME(lx::o_creat, O_CREAT);
  SAME(lx::o_directory, O_DIRECTORY);
  SAME(lx::o_cloexec, O_CLOEXEC);
  SAME(lx::o_path, O_PATH);
  SAME(lx::o_nofollow, O_NOFOLLOW);
  SAME(lx::o_append, O_APPEND);
  SAME(lx::o_nonblock, O_NONBLOCK);
  SAME(lx::o_trunc, O_TRUNC);
  SAME(lx::at_fdcwd, AT_FDCWD);
  SAME(lx::at_empty_path, AT_EMPTY_PATH);
  SAME(lx::at_removedir, AT_REMOVEDIR);
  SAME(lx::at_symlink_nofollow, AT_SYMLINK_NOFOLLOW);
  SAME(lx::f_dupfd_cloexec, F_DUPFD_CLOEXEC);
  SAME(lx::f_getlk, F_GETLK);
  SAME(lx::poll_rdnorm, POLLRDNORM);
  SAME(lx::poll_wrnorm, POLLWRNORM);
  SAME(lx::poll_nval, POLLNVAL);
  SAME(lx::poll_hup, POLLHUP);
  SAME(lx::tcgets, TCGETS);
  SAME(lx::tiocgwinsz, TIOCGWINSZ);
  SAME(lx::fionread, FIONREAD);
  SAME(lx::fionbio, FIONBIO);
  SAME(lx::efd_semaphore, EFD_SEMAPHORE);
  SAME(lx::statx_basic_stats, STATX_BASIC_STATS);
}

TEST(abi, memory_flags_are_linux) {
  SAME(lx::map_anonymous, MAP_ANONYMOUS);
  SAME(lx::map_fixed_noreplace, MAP_FIXED_NOREPLACE);
  SAME(lx::map_stack, MAP_STACK);
  SAME(lx::map_populate, MAP_POPULATE);
  SAME(lx::map_noreserve, MAP_NORESERVE);
  SAME(lx::map_hugetlb, MAP_HUGETLB);
  SAME(lx::madv_dontneed, MADV_DONTNEED);
  SAME(lx::madv_free, MADV_FREE);
  SAME(lx::madv_populate_write, MADV_POPULATE_WRITE);
  SAME(lx::madv_dodump, MADV_DODUMP);
  SAME(lx::mremap_fixed, MREMAP_FIXED);
  SAME(lx::ms_sync, MS_SYNC);
  SAME(lx::ms_async, MS_ASYNC);
}

TEST(abi, signals_are_linux) {
  SAME_SIZE(lx::siginfo, siginfo_t);
  SAME_OFFSET(lx::siginfo, code, siginfo_t, si_code);
  SAME_OFFSET(lx::siginfo, fault, siginfo_t, si_addr);
  SAME_SIZE(lx::stack_t, stack_t);
  SAME_OFFSET(lx::stack_t, size, stack_t, ss_size);
  SAME_OFFSET(lx::ucontext, mcontext, ucontext_t, uc_mcontext);
  SAME_OFFSET(lx::ucontext, sigmask, ucontext_t, uc_sigmask);
  SAME_SIZE(lx::sigcontext, mcontext_t);
  EXPECT_EQ(offsetof(lx::sigcontext, rip), offsetof(mcontext_t, gregs) + REG_RIP * 8);
  EXPECT_EQ(offsetof(lx::sigcontext, cr2), offsetof(mcontext_t, gregs) + REG_CR2 * 8);
  EXPECT_EQ(offsetof(lx::sigcontext, cs), offsetof(mcontext_t, gregs) + REG_CSGSFS * 8);
  EXPECT_EQ(offsetof(lx::sigcontext, trapno), offsetof(mcontext_t, gregs) + REG_TRAPNO * 8);
  SAME_OFFSET(lx::sigcontext, fpstate, mcontext_t, fpregs);
  SAME_SIZE(lx::fpx_sw_bytes, struct _fpx_sw_bytes);
  SAME(lx::sa_restart, SA_RESTART);
  SAME(lx::sa_nodefer, SA_NODEFER);
  SAME(lx::sa_resethand, unsigned(SA_RESETHAND));
  SAME(lx::sa_onstack, SA_ONSTACK);
  SAME(lx::sa_siginfo, SA_SIGINFO);
  SAME(lx::si_tkill, SI_TKILL);
  SAME(lx::si_queue, SI_QUEUE);
  SAME(lx::sig_segv, SIGSEGV);
  SAME(lx::sig_term, SIGTERM);
  SAME(lx::sig_chld, SIGCHLD);
  SAME(lx::sig_winch, SIGWINCH);
  SAME(lx::sig_sys, SIGSYS);
  SAME(lx::sig_block, SIG_BLOCK);
  SAME(lx::sig_setmask, SIG_SETMASK);
  SAME(lx::ss_disable, SS_DISABLE);
}

TEST(abi, tasks_are_linux) {
  SAME_SIZE(lx::clone_args, struct clone_args);
  SAME_OFFSET(lx::clone_args, tls, struct clone_args, tls);
  SAME_SIZE(lx::robust_list_head, struct robust_list_head);
  SAME_SIZE(lx::rlimit, struct rlimit);
  SAME_SIZE(lx::rusage, struct rusage);
  SAME_OFFSET(lx::rusage, maxrss, struct rusage, ru_maxrss);
  SAME_SIZE(lx::utsname, struct utsname);
  SAME_SIZE(lx::sysinfo, struct sysinfo);
  SAME_OFFSET(lx::sysinfo, mem_unit, struct sysinfo, mem_unit);
  SAME_SIZE(lx::tms, struct tms);
  SAME_SIZE(lx::timespec, struct timespec);
  SAME_SIZE(lx::itimerval, struct itimerval);
  SAME(lx::clone_thread, CLONE_THREAD);
  SAME(lx::clone_settls, CLONE_SETTLS);
  SAME(lx::clone_child_cleartid, CLONE_CHILD_CLEARTID);
  SAME(lx::clone_parent_settid, CLONE_PARENT_SETTID);
  SAME(lx::clone_child_settid, CLONE_CHILD_SETTID);
  SAME(lx::clone_vm, CLONE_VM);
  SAME(lx::futex_wait_bitset, FUTEX_WAIT_BITSET);
  SAME(lx::futex_cmp_requeue, FUTEX_CMP_REQUEUE);
  SAME(lx::futex_wake_op, FUTEX_WAKE_OP);
  SAME(lx::futex_clock_realtime_flag, FUTEX_CLOCK_REALTIME);
  SAME(lx::futex_tid_mask, FUTEX_TID_MASK);
  SAME(lx::arch_set_fs, ARCH_SET_FS);
  SAME(lx::arch_get_gs, ARCH_GET_GS);
  SAME(lx::pr_set_name, PR_SET_NAME);
  SAME(lx::pr_set_vma, PR_SET_VMA);
  SAME(lx::rlimit_nofile, RLIMIT_NOFILE);
  SAME(lx::rlimit_as, RLIMIT_AS);
  SAME(lx::membarrier_cmd_private_expedited, MEMBARRIER_CMD_PRIVATE_EXPEDITED);
  SAME(lx::grnd_insecure, 4);
  SAME(lx::clock_boottime, CLOCK_BOOTTIME);
  SAME(lx::timer_abstime, TIMER_ABSTIME);
}

TEST(abi, error_numbers_are_linux) {
  using solaster::errc;
  SAME(errc::again, EAGAIN);
  SAME(errc::nametoolong, ENAMETOOLONG);
  SAME(errc::overflow, EOVERFLOW);
  SAME(errc::timedout, ETIMEDOUT);
  SAME(errc::notty, ENOTTY);
  SAME(errc::spipe, ESPIPE);
  SAME(errc::too_big, E2BIG);
  SAME(errc::loop, ELOOP);
  SAME(errc::nosys, ENOSYS);
  SAME(errc::opnotsupp, EOPNOTSUPP);
  SAME(errc::notempty, ENOTEMPTY);
  SAME(errc::pipe, EPIPE);
  SAME(errc::range, ERANGE);
}

TEST(abi, system_call_numbers_are_linux) {
  int count = 0;
#define SYSCALL(number, name, support, note) \
  SAME(number, __NR_##name);                 \
  count++;
#include "kernel/sys/table.def"
#undef SYSCALL
  EXPECT_GT(count, 350);
}
