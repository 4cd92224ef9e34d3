// Packer: codes of any length in, words of W bits out, most significant bit first. Register for
// register the model's (../bit_packer.h): the last whole word is held back until more bits follow or
// the stream ends, so that `last` travels with the stream's last word; a stream without a bit ends
// with a beat that carries no word (keep = 0).

module ebpc_packer #(
    parameter int W = 8,
    parameter int LONGEST = 8,  // bits of the longest code
    localparam int CAPACITY = W + LONGEST,
    localparam int FILL_BITS = $clog2(CAPACITY + 1),
    localparam int LENGTH_BITS = $clog2(LONGEST + 1)
) (
    input  logic                   clk,
    input  logic                   rst_n,
    // A code, left-justified with zeros after it; of length 0, none. `code_end` ends the stream
    // after it. None is taken while a whole word waits.
    input  logic                   code_valid,
    output logic                   code_ready,
    input  logic [    LONGEST-1:0] code,
    input  logic [LENGTH_BITS-1:0] code_length,
    input  logic                   code_end,
    // The stream.
    output logic                   out_valid,
    input  logic                   out_ready,
    output logic [          W-1:0] out_data,
    output logic                   out_last,
    output logic                   out_keep
);
  logic [CAPACITY-1:0] buffer;  // filled from the left, zeros after
  logic [FILL_BITS-1:0] fill;   // bits in it
  logic ending;

  wire whole_word = fill > FILL_BITS'(W);
  assign out_valid = whole_word || ending;
  assign out_data = buffer[CAPACITY-1-:W];
  assign out_last = ending && !whole_word;
  assign out_keep = fill != 0;

  wire moves = out_valid && out_ready;
  wire two_words = CAPACITY > 2 * W && fill > FILL_BITS'(2 * W);  // the second stays
  assign code_ready = !ending && (!whole_word || (out_ready && !two_words));
  wire taken = code_valid && code_ready;

  // What is left but for a last word; where a code is taken, at most W bits.
  wire [FILL_BITS-1:0] kept = moves ? fill - FILL_BITS'(W) : fill;
  wire [FILL_BITS-1:0] added = taken ? FILL_BITS'(code_length) : '0;

  wire [CAPACITY-1:0] shifted = moves ? {buffer[CAPACITY-1-W:0], {W{1'b0}}} : buffer;
  wire [CAPACITY-1:0] placed = {code & {LONGEST{taken}}, {W{1'b0}}} >> kept;

  always_ff @(posedge clk or negedge rst_n) begin
    if (!rst_n) begin
      buffer <= '0;
      fill   <= '0;
      ending <= 1'b0;
    end else begin
      buffer <= shifted | placed;
      fill   <= moves && out_last ? '0 : kept + added;
      ending <= (taken && code_end) || (ending && !(moves && out_last));
    end
  end
endmodule
