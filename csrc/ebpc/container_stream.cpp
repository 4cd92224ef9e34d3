#include "ebpc/container_stream.h"

#include <algorithm>
#include <string>
#include <utility>

#include "ebpc/container_parse.h"
#include "ebpc/container_segments.h"
#include "ebpc/error.h"

namespace ebpc {

using namespace layout;

// ---- Encoder

ContainerEncoder::ContainerEncoder(const TensorInfo& tensor, const ContainerCode& code,
                                   Executor executor)
    : tensor_(tensor),
      code_(code),
      version_(version_of(tensor.dtype, code)),
      executor_(std::move(executor)),
      words_(word_count(tensor)) {
  check_code(tensor.dtype, code);
  header_.resize(checked_header_bytes(tensor, version_));
}

void ContainerEncoder::push(WordSpan words, std::vector<std::uint8_t>& payload) {
  const int bytes_per_word = traits(tensor_.dtype).bytes;
  if (words.bytes_per_word != bytes_per_word) {
    throw Error(ErrorCode::argument, "words must have " + std::to_string(bytes_per_word) +
                                         " bytes, got " + std::to_string(words.bytes_per_word));
  }
  if (words.count > words_ - pushed_words_) {
    throw Error(ErrorCode::argument,
                "there must be at most the " + std::to_string(words_ - pushed_words_) +
                    " words that are left, got " + std::to_string(words.count));
  }
  check_fit(code_.parameters, words, pushed_words_);
  pushed_words_ += words.count;

  const auto size = static_cast<std::size_t>(bytes_per_word);
  const bool complete = pushed_words_ == words_;
  const auto keep = [&](WordSpan part) {
    const auto* bytes = static_cast<const std::uint8_t*>(part.data);
    pending_.insert(pending_.end(), bytes, bytes + part.count * size);
  };
  std::size_t taken = 0;
  if (!pending_.empty()) {  // fill the segment that was begun
    taken = std::min<std::size_t>(words.count, segment_words - pending_.size() / size);
    keep(words.part(0, taken));
    if (pending_.size() == segment_words * size || complete) {
      encode({pending_.data(), pending_.size() / size, bytes_per_word}, payload);
      pending_.clear();
    }
  }
  const std::size_t left = words.count - taken;
  const std::size_t whole = complete ? left : left - left % segment_words;
  if (whole > 0) encode(words.part(taken, whole), payload);
  keep(words.part(taken + whole, left - whole));
}

void ContainerEncoder::encode(WordSpan words, std::vector<std::uint8_t>& payload) {
  const std::size_t before = payload.size();
  payload.resize(before + words.count * static_cast<std::size_t>(words.bytes_per_word));
  std::uint8_t* table =
      header_.data() + table_offset(version_, tensor_) + entry_bytes(version_) * coded_segments_;
  const CodedTotals coded =
      encode_segments(code_, version_, words, table, payload.data() + before, executor_);
  payload.resize(before + coded.payload_bytes);
  payload_bytes_ += coded.payload_bytes;
  bits_ += coded.bits;
  coded_segments_ += segment_count(words.count);
}

const std::vector<std::uint8_t>& ContainerEncoder::finish() {
  if (pushed_words_ != words_) {
    throw Error(ErrorCode::argument, "all " + std::to_string(words_) +
                                         " words must have been pushed, got " +
                                         std::to_string(pushed_words_));
  }
  write_header(header_.data(), tensor_, code_, {payload_bytes_, bits_});
  return header_;
}

// ---- Decoder

/// Runs `body`; after an error of the container, every later call repeats it.
template <class Body>
void ContainerDecoder::remember_damage(Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    damage_ = error;
    throw;
  }
}

void ContainerDecoder::push(std::span<const std::uint8_t> bytes) {
  if (damage_) throw *damage_;
  // Only where that at least halves them, so that many small pieces do not move them each time.
  if (used_bytes_ >= bytes_.size() - used_bytes_) {
    bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<std::ptrdiff_t>(used_bytes_));
    bytes_offset_ += std::exchange(used_bytes_, 0);
  }
  bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  if (!parsed_) remember_damage([&] { read_header(); });
}

void ContainerDecoder::read_header() {
  if (bytes_.size() < fixed_header_bytes) return;
  const std::uint64_t header_bytes = read_header_bytes(bytes_);
  if (header_bytes >= fixed_header_bytes && bytes_.size() < header_bytes) return;
  parsed_ = parse(bytes_, Extent::header);
  used_bytes_ = header_bytes;
}

std::uint64_t ContainerDecoder::ready_segments() const {
  if (!parsed_) return 0;
  const std::uint64_t end = bytes_offset_ + bytes_.size();
  std::uint64_t ready = 0;
  while (ready < piece_segments && decoded_segments_ + ready < parsed_->segments.size()) {
    const SegmentPlace& place = parsed_->segments[decoded_segments_ + ready];
    if (place.offset + place.bytes > end) break;
    ++ready;
  }
  return ready;
}

std::uint64_t ContainerDecoder::ready_words() {
  if (damage_) throw *damage_;
  const std::uint64_t ready = ready_segments();
  if (ready > 0) {
    return std::min(ready * segment_words, parsed_->info.words - decoded_segments_ * segment_words);
  }
  if (parsed_ && decoded_segments_ == parsed_->info.segments && !pending().empty()) {
    remember_damage([&] {
      malformed(parsed_->info.container_bytes, "container bytes", "the end",
                std::to_string(pending().size()) + " more bytes");
    });
  }
  return 0;
}

void ContainerDecoder::next(void* words, std::uint64_t words_bytes) {
  const std::uint64_t count = ready_words();
  const int bytes_per_word = parsed_ ? traits(parsed_->info.tensor.dtype).bytes : 1;
  if (words_bytes != count * static_cast<std::uint64_t>(bytes_per_word)) {
    throw Error(ErrorCode::argument,
                "words_bytes must be " +
                    std::to_string(count * static_cast<std::uint64_t>(bytes_per_word)) +
                    ", the words that are ready, got " + std::to_string(words_bytes));
  }
  if (count == 0) return;
  const std::uint64_t segments = ready_segments();
  const auto places = std::span(parsed_->segments).subspan(decoded_segments_, segments);
  remember_damage([&] {
    decode_segments({parsed_->info, decoded_segments_, places, bytes_, bytes_offset_},
                    {words, count, bytes_per_word}, executor_);
  });
  decoded_segments_ += segments;
  used_bytes_ = places.back().offset + places.back().bytes - bytes_offset_;
}

void ContainerDecoder::finish() {
  if (ready_words() > 0) {
    throw Error(ErrorCode::argument, "all words that are ready must be taken before finish, got " +
                                         std::to_string(ready_words()) + " left");
  }
  if (parsed_ && decoded_segments_ == parsed_->info.segments) return;
  malformed(
      bytes_offset_ + bytes_.size(), "container bytes",
      parsed_ ? std::to_string(parsed_->info.container_bytes) + " bytes" : std::string("a header"),
      "the end");
}

}  // namespace ebpc
