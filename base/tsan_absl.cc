// Part of every program of the tsan preset. Debian's Abseil is not
// instrumented: ThreadSanitizer does not see its locks, and takes all that they
// guard for races. Here stand the same functions once more, before the
// library's: each tells the sanitizer what it means and calls the library's
// own.
//
// Conditions run on whichever thread gives a lock away, or on the one that
// waits for it, while the lock is held: what is read there is not looked at.
//
// Nor are gRPC and protobuf instrumented; what is not looked at for that is at
// the end.

#include <dlfcn.h>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"

extern "C" {
void __tsan_acquire(void* address);
void __tsan_release(void* address);
void __tsan_ignore_thread_begin();
void __tsan_ignore_thread_end();
}

namespace {

// The library's function of that mangled name, as one of `this`.
template <class Result, class... Args>
auto* Real(const char* name) {
  return reinterpret_cast<Result (*)(const void*, Args...)>(
      dlsym(RTLD_NEXT, name));
}

template <class Call>
auto Unseen(const Call& call) {
  struct Ignored {
    Ignored() { __tsan_ignore_thread_begin(); }
    ~Ignored() { __tsan_ignore_thread_end(); }
  } ignored;
  return call();
}

// `call` takes the lock at `address`, or waits with it.
template <class Call>
void Take(void* address, const Call& call) {
  Unseen(call);
  __tsan_acquire(address);
}

// As Take; returns what `call` does.
template <class Call>
bool TakeAndTell(void* address, const Call& call) {
  const bool result = Unseen(call);
  __tsan_acquire(address);
  return result;
}

// `call` gives the lock at `address` away for a while.
template <class Call>
void Wait(void* address, const Call& call) {
  __tsan_release(address);
  Take(address, call);
}

template <class Call>
bool WaitAndTell(void* address, const Call& call) {
  __tsan_release(address);
  return TakeAndTell(address, call);
}

}  // namespace

namespace absl {

void Mutex::Lock() {
  static auto* const real = Real<void>("_ZN4absl7debian35Mutex4LockEv");
  Take(this, [this] { real(this); });
}

void Mutex::Unlock() {
  static auto* const real = Real<void>("_ZN4absl7debian35Mutex6UnlockEv");
  __tsan_release(this);
  Unseen([this] { real(this); });
}

bool Mutex::TryLock() {
  static auto* const real = Real<bool>("_ZN4absl7debian35Mutex7TryLockEv");
  return TakeAndTell(this, [this] { return real(this); });
}

void Mutex::ReaderLock() {
  static auto* const real = Real<void>("_ZN4absl7debian35Mutex10ReaderLockEv");
  Take(this, [this] { real(this); });
}

void Mutex::ReaderUnlock() {
  static auto* const real =
      Real<void>("_ZN4absl7debian35Mutex12ReaderUnlockEv");
  __tsan_release(this);
  Unseen([this] { real(this); });
}

bool Mutex::ReaderTryLock() {
  static auto* const real =
      Real<bool>("_ZN4absl7debian35Mutex13ReaderTryLockEv");
  return TakeAndTell(this, [this] { return real(this); });
}

void Mutex::LockWhen(const Condition& condition) {
  static auto* const real = Real<void, const Condition&>(
      "_ZN4absl7debian35Mutex8LockWhenERKNS0_9ConditionE");
  Take(this, [&] { real(this, condition); });
}

void Mutex::ReaderLockWhen(const Condition& condition) {
  static auto* const real = Real<void, const Condition&>(
      "_ZN4absl7debian35Mutex14ReaderLockWhenERKNS0_9ConditionE");
  Take(this, [&] { real(this, condition); });
}

bool Mutex::LockWhenWithTimeout(const Condition& condition, Duration timeout) {
  static auto* const real = Real<bool, const Condition&, Duration>(
      "_ZN4absl7debian35Mutex19LockWhenWithTimeoutERKNS0_9ConditionENS0_"
      "8DurationE");
  return TakeAndTell(this, [&] { return real(this, condition, timeout); });
}

bool Mutex::LockWhenWithDeadline(const Condition& condition, Time deadline) {
  static auto* const real = Real<bool, const Condition&, Time>(
      "_ZN4absl7debian35Mutex20LockWhenWithDeadlineERKNS0_9ConditionENS0_"
      "4TimeE");
  return TakeAndTell(this, [&] { return real(this, condition, deadline); });
}

void Mutex::Await(const Condition& condition) {
  static auto* const real = Real<void, const Condition&>(
      "_ZN4absl7debian35Mutex5AwaitERKNS0_9ConditionE");
  Wait(this, [&] { real(this, condition); });
}

bool Mutex::AwaitWithTimeout(const Condition& condition, Duration timeout) {
  static auto* const real = Real<bool, const Condition&, Duration>(
      "_ZN4absl7debian35Mutex16AwaitWithTimeoutERKNS0_9ConditionENS0_"
      "8DurationE");
  return WaitAndTell(this, [&] { return real(this, condition, timeout); });
}

bool Mutex::AwaitWithDeadline(const Condition& condition, Time deadline) {
  static auto* const real = Real<bool, const Condition&, Time>(
      "_ZN4absl7debian35Mutex17AwaitWithDeadlineERKNS0_9ConditionENS0_4TimeE");
  return WaitAndTell(this, [&] { return real(this, condition, deadline); });
}

void CondVar::Wait(Mutex* mutex) {
  static auto* const real =
      Real<void, Mutex*>("_ZN4absl7debian37CondVar4WaitEPNS0_5MutexE");
  ::Wait(mutex, [&] { real(this, mutex); });
}

bool CondVar::WaitWithTimeout(Mutex* mutex, Duration timeout) {
  static auto* const real = Real<bool, Mutex*, Duration>(
      "_ZN4absl7debian37CondVar15WaitWithTimeoutEPNS0_5MutexENS0_8DurationE");
  return WaitAndTell(mutex, [&] { return real(this, mutex, timeout); });
}

bool CondVar::WaitWithDeadline(Mutex* mutex, Time deadline) {
  static auto* const real = Real<bool, Mutex*, Time>(
      "_ZN4absl7debian37CondVar16WaitWithDeadlineEPNS0_5MutexENS0_4TimeE");
  return WaitAndTell(mutex, [&] { return real(this, mutex, deadline); });
}

void Notification::Notify() {
  static auto* const real =
      Real<void>("_ZN4absl7debian312Notification6NotifyEv");
  __tsan_release(this);
  Unseen([this] { real(this); });
}

void Notification::WaitForNotification() const {
  static auto* const real =
      Real<void>("_ZNK4absl7debian312Notification19WaitForNotificationEv");
  Take(const_cast<Notification*>(this), [this] { real(this); });
}

bool Notification::WaitForNotificationWithTimeout(Duration timeout) const {
  static auto* const real = Real<bool, Duration>(
      "_ZNK4absl7debian312Notification30WaitForNotificationWithTimeoutENS0_"
      "8DurationE");
  return TakeAndTell(const_cast<Notification*>(this),
                     [&] { return real(this, timeout); });
}

bool Notification::WaitForNotificationWithDeadline(Time deadline) const {
  static auto* const real = Real<bool, Time>(
      "_ZNK4absl7debian312Notification31WaitForNotificationWithDeadlineENS0_"
      "4TimeE");
  return TakeAndTell(const_cast<Notification*>(this),
                     [&] { return real(this, deadline); });
}

}  // namespace absl

extern "C" {

// Without so much history a report may lack the stack that excuses it.
const char* __tsan_default_options() { return "history_size=7"; }

const char* __tsan_default_suppressions() {
  return
      // They hand memory from thread to thread by atomics of their own.
      "called_from_lib:libabsl_cord.so\n"
      "called_from_lib:libabsl_graphcycles_internal.so\n"
      "called_from_lib:libabsl_status.so\n"
      "called_from_lib:libabsl_str_format_internal.so\n"
      "called_from_lib:libabsl_strings.so\n"
      "called_from_lib:libabsl_synchronization.so\n"
      "called_from_lib:libabsl_time.so\n"
      "called_from_lib:libabsl_time_zone.so\n"
      "called_from_lib:libgpr.so\n"
      "called_from_lib:libgrpc.so\n"
      "called_from_lib:libgrpc++.so\n"
      "called_from_lib:libprotobuf.so\n"
      "called_from_lib:libupb.so\n"
      // Their headers, compiled as ours: of a call's operations and callbacks,
      // which run where and when gRPC has them run.
      "race_top:grpc::\n"
      "race:grpc::internal::CallOpSet\n"
      "race:grpc::internal::CallbackWithSuccessTag::Set\n";
}

}  // extern "C"
