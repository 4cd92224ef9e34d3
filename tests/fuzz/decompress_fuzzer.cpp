// Containers: any bytes, and the same bytes with checksums that are right, so that what is after
// them is reached as well. All ways to read a container must agree.

#include <algorithm>

#include "ebpc/container.h"
#include "ebpc/container_layout.h"
#include "ebpc/container_reader.h"
#include "ebpc/container_stream.h"
#include "ebpc/error.h"
#include "ebpc/kernels/kernel.h"
#include "fuzz_input.h"

namespace ebpc::fuzz {
namespace {

using namespace layout;

constexpr std::uint64_t most_bytes = std::uint64_t{1} << 22;

/// Makes the checksums right, as far as the header leads to them.
void repair(Bytes& container) {
  if (container.size() < fixed_header_bytes) return;
  store<std::uint64_t>(&container[at_container_bytes], container.size());
  const std::uint64_t header = load<std::uint32_t>(&container[at_header_bytes]);
  if (header < fixed_header_bytes || header > container.size()) return;
  const int version = load<std::uint16_t>(&container[at_version]);
  std::uint64_t offset = header;
  for (std::uint64_t at = shape_offset(version) + 8 * std::uint64_t{container[at_dims]};
       at + entry_bytes(version) + checksum_bytes <= header; at += entry_bytes(version)) {
    SegmentEntry entry = SegmentEntry::read(&container[at], version);
    const std::uint64_t bytes = entry.coding != coding_raw
                                    ? entry.stream_bytes()
                                    : container.size() - offset;  // raw: if it is the last one
    if (bytes > container.size() - offset) break;
    entry.checksum = portable_kernel.crc32c(0, &container[0] + offset, bytes);
    entry.write(&container[at], version);
    offset += bytes;
  }
  store<std::uint32_t>(&container[header - 4],
                       portable_kernel.crc32c(0, container.data(), header - 4));
}

/// All words in one go; false if the container is refused.
bool decompressed(const Bytes& container, Bytes& words) {
  try {
    const ContainerInfo info = inspect(container);
    const std::uint64_t bytes =
        info.words * static_cast<std::uint64_t>(traits(info.tensor.dtype).bytes);
    expect(bytes < 2048 * container.size(), "a tensor less than 2048 times the container");
    check_max_bytes(bytes, most_bytes);
    words.resize(bytes);
    ContainerReader(container).read(words.data(), bytes);
    return true;
  } catch (const Error&) {
    return false;
  }
}

bool streamed(const Bytes& container, Bytes& words) {
  try {
    ContainerDecoder decoder;
    const auto take = [&] {
      while (const std::uint64_t count = decoder.ready_words()) {
        const std::uint64_t bytes =
            count * static_cast<std::uint64_t>(traits(decoder.info()->tensor.dtype).bytes);
        check_max_bytes(words.size() + bytes, most_bytes);
        words.resize(words.size() + bytes);
        decoder.next(words.data() + words.size() - bytes, bytes);
      }
    };
    const std::span<const std::uint8_t> all(container);
    const std::size_t cut = container.empty() ? 0 : container[container.size() / 2] % all.size();
    decoder.push(all.first(cut));
    take();
    decoder.push(all.subspan(cut));
    take();
    decoder.finish();
    return true;
  } catch (const Error&) {
    return false;
  }
}

void check(const Bytes& container) {
  Bytes words;
  Bytes pieces;
  const bool whole = decompressed(container, words);
  expect(streamed(container, pieces) == whole, "the decoder to accept what decompress accepts");
  if (whole) expect(pieces == words, "the decoder's words to be those of decompress");
  try {
    const ContainerInfo info = ContainerReader(container, layout::Extent::header).info();
    const int size = traits(info.tensor.dtype).bytes;
    const std::uint64_t bytes = info.words * static_cast<std::uint64_t>(size);
    check_max_bytes(bytes, most_bytes);
    Bytes recovered(bytes);
    const bool intact =
        ContainerReader(container, layout::Extent::header).recover(recovered.data(), bytes).empty();
    if (!whole) return;
    expect(intact && recovered == words, "recover to lose nothing of an intact container");
    const std::uint64_t first = info.words / 3;
    const std::uint64_t count = std::min<std::uint64_t>(info.words - first, 5000);
    Bytes range(count * static_cast<std::uint64_t>(size));
    ContainerReader(container).read_range({first, count}, range.data(), range.size());
    expect(std::equal(range.begin(), range.end(),
                      words.begin() + static_cast<std::ptrdiff_t>(first) * size),
           "a range to be that part of the words");
  } catch (const Error&) {
    expect(!whole, "an intact container to be read by all");
  }
}

}  // namespace
}  // namespace ebpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  ebpc::fuzz::Bytes container(data, data + size);
  ebpc::fuzz::check(container);
  ebpc::fuzz::repair(container);
  ebpc::fuzz::check(container);
  return 0;
}
