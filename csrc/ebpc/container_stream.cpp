#include "ebpc/container_stream.h"

#include <algorithm>
#include <string>

#include "ebpc/container_parse.h"
#include "ebpc/container_segments.h"
#include "ebpc/error.h"

namespace ebpc {

using namespace layout;

// ---- Encoder
// -------------------------------------------------------------------------------------

ContainerEncoder::ContainerEncoder(const TensorInfo& tensor, const Parameters& parameters,
                                   Executor executor, Codec codec)
    : tensor_(tensor),
      codec_(codec),
      parameters_(parameters),
      executor_(std::move(executor)),
      words_(word_count(tensor)) {
  check_code(tensor.dtype, codec, parameters);
  header_.resize(checked_header_bytes(tensor));
}

void ContainerEncoder::push(WordSpan words, std::vector<std::uint8_t>& payload) {
  const int bytes_per_word = traits(tensor_.dtype).bytes;
  if (words.bytes_per_word != bytes_per_word) {
    throw Error(ErrorCode::argument, "words must have " + std::to_string(bytes_per_word) +
                                         " bytes, got " + std::to_string(words.bytes_per_word));
  }
  if (words.count > words_ - pushed_words_) {
    throw Error(ErrorCode::argument, "the tensor has " + std::to_string(words_ - pushed_words_) +
                                         " more words, got " + std::to_string(words.count));
  }
  check_fit(parameters_, words, pushed_words_);
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
      header_.data() + table_offset(tensor_) + segment_entry_bytes * coded_segments_;
  const CodedTotals coded =
      encode_segments(codec_, parameters_, words, table, payload.data() + before, executor_);
  payload.resize(before + coded.payload_bytes);
  payload_bytes_ += coded.payload_bytes;
  bits_ += coded.bits;
  coded_segments_ += segment_count(words.count);
}

const std::vector<std::uint8_t>& ContainerEncoder::finish() {
  if (pushed_words_ != words_) {
    throw Error(ErrorCode::argument, "all words of the tensor must have been pushed, " +
                                         std::to_string(words_) + ", got " +
                                         std::to_string(pushed_words_));
  }
  write_header(header_.data(), tensor_, codec_, parameters_, {payload_bytes_, bits_});
  return header_;
}

// ---- Decoder
// -------------------------------------------------------------------------------------

namespace {

/// Segments that are decoded and handed over at a time: 4 MiB of 4-byte words, whatever the
/// payload claims to stand for.
constexpr std::uint64_t piece_segments = 256;

}  // namespace

void ContainerDecoder::push(std::span<const std::uint8_t> bytes, const Sink& sink) {
  pending_.insert(pending_.end(), bytes.begin(), bytes.end());
  if (!info_) read_header();
  if (!info_) return;
  while (decode_some(sink)) {
  }
  if (decoded_segments_ == info_->segments && !pending_.empty()) {
    malformed(info_->container_bytes, "container bytes", "the end",
              std::to_string(pending_.size()) + " more bytes");
  }
}

void ContainerDecoder::read_header() {
  if (pending_.size() < fixed_header_bytes) return;
  const std::uint64_t header_bytes = read_header_bytes(pending_);
  if (header_bytes >= fixed_header_bytes && pending_.size() < header_bytes) return;
  info_ = inspect_header(pending_);
  const auto end = pending_.begin() + static_cast<std::ptrdiff_t>(header_bytes);
  header_.assign(pending_.begin(), end);
  pending_.erase(pending_.begin(), end);
  pending_offset_ = header_bytes;
}

/// Hands over the next words whose segments are complete; false if there are none.
bool ContainerDecoder::decode_some(const Sink& sink) {
  TableTotals unused;
  std::vector<SegmentPlace> places = read_table(
      header_, *info_, decoded_segments_,
      std::min(decoded_segments_ + piece_segments, info_->segments), pending_offset_, unused);
  const std::uint64_t end = pending_offset_ + pending_.size();
  const auto incomplete =
      std::find_if(places.begin(), places.end(),
                   [end](const SegmentPlace& place) { return place.offset + place.bytes > end; });
  places.erase(incomplete, places.end());
  if (places.empty()) return false;

  const int bytes_per_word = traits(info_->tensor.dtype).bytes;
  const std::uint64_t first_word = decoded_segments_ * segment_words;
  const std::uint64_t count = std::min(info_->words - first_word, places.size() * segment_words);
  std::vector<std::uint8_t> words(count * static_cast<std::uint64_t>(bytes_per_word));
  decode_segments({*info_, decoded_segments_, places, pending_, pending_offset_},
                  {words.data(), count, bytes_per_word}, executor_);
  decoded_segments_ += places.size();
  const std::uint64_t next = places.back().offset + places.back().bytes;
  pending_.erase(pending_.begin(),
                 pending_.begin() + static_cast<std::ptrdiff_t>(next - pending_offset_));
  pending_offset_ = next;
  sink({words.data(), count, bytes_per_word});
  return true;
}

void ContainerDecoder::finish() const {
  if (!info_ || decoded_segments_ < info_->segments) {
    malformed(pending_offset_ + pending_.size(), "container bytes",
              info_ ? std::to_string(info_->container_bytes) + " bytes" : std::string("a header"),
              "the end");
  }
}

}  // namespace ebpc
