// Registers: the only place where the hardware model keeps anything from one cycle to the next.
//
// A register has a unit, a name and a width in bits, cuts what is written to that width, and shows
// the old value until the clock edge, where the last write of the cycle counts. All registers of a
// design sit in one bank, so that they are clocked together and can be counted: the bank is the
// list of the design's sequential cells.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace ebpc::hardware {

/// A value whose low `count` bits (0 to 64) are ones.
constexpr std::uint64_t low_ones(int count) {
  return count == 0 ? 0 : ~std::uint64_t{0} >> (64 - count);
}

/// Bits of a register that counts from 0 to `highest`.
constexpr int bits_to_count(int highest) { return std::bit_width(static_cast<unsigned>(highest)); }

/// `count` registers of `bits` bits each, under one name.
struct RegisterGroup {
  std::string unit;
  std::string name;
  int count;
  int bits;

  int total_bits() const { return count * bits; }
};

class RegisterBank {
 public:
  RegisterBank() = default;
  RegisterBank(const RegisterBank&) = delete;  // registers point to their bank
  RegisterBank& operator=(const RegisterBank&) = delete;

  /// What was written since the last edge becomes visible; what was not written stays.
  void clock_edge() { now_ = next_; }

  const std::vector<RegisterGroup>& groups() const { return groups_; }

  /// Sequential cells of the whole design, in bits.
  int total_bits() const {
    int bits = 0;
    for (const RegisterGroup& group : groups_) bits += group.total_bits();
    return bits;
  }

  /// The contents of all registers, and the reverse, as through a scan chain: a design of the same
  /// parameters that is given them goes on exactly where this one stands.
  std::vector<std::uint64_t> scan_out() const { return now_; }
  void scan_in(std::vector<std::uint64_t> contents) {
    now_ = std::move(contents);
    next_ = now_;
  }

 private:
  friend class RegisterArray;

  std::size_t add(RegisterGroup group) {
    const std::size_t first = now_.size();
    now_.resize(first + static_cast<std::size_t>(group.count));  // all registers reset to 0
    next_ = now_;
    if (group.count > 0) groups_.push_back(std::move(group));
    return first;
  }

  std::vector<RegisterGroup> groups_;
  std::vector<std::uint64_t> now_;   // Q: what logic reads during the cycle
  std::vector<std::uint64_t> next_;  // D: what the edge will store
};

class RegisterArray {
 public:
  RegisterArray(RegisterBank& bank, std::string unit, std::string name, int count, int bits)
      : bank_(bank),
        mask_(low_ones(bits)),
        first_(bank.add({std::move(unit), std::move(name), count, bits})) {}

  std::uint64_t get(int i) const { return bank_.now_[first_ + static_cast<std::size_t>(i)]; }
  void set(int i, std::uint64_t value) {
    bank_.next_[first_ + static_cast<std::size_t>(i)] = value & mask_;
  }

 private:
  RegisterBank& bank_;
  std::uint64_t mask_;
  std::size_t first_;
};

class Register {
 public:
  Register(RegisterBank& bank, std::string unit, std::string name, int bits)
      : cell_(bank, std::move(unit), std::move(name), 1, bits) {}

  std::uint64_t get() const { return cell_.get(0); }
  int get_int() const { return static_cast<int>(get()); }  // for counters
  bool is_set() const { return get() != 0; }               // for flags
  void set(std::uint64_t value) { cell_.set(0, value); }
  void set_int(int value) { set(static_cast<std::uint64_t>(value)); }

 private:
  RegisterArray cell_;
};

}  // namespace ebpc::hardware
