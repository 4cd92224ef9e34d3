// Unpacker: words of W bits in, codes of any length out, most significant bit first. Register for
// register the model's (../bit_unpacker.h): after the beat with `last` no more is taken until
// `clear`, which drops the padding.

module ebpc_unpacker #(
    parameter int W = 8,
    parameter int LONGEST = 8,  // bits of the longest code
    localparam int CAPACITY = W + LONGEST - 1,
    localparam int FILL_BITS = $clog2(CAPACITY + 1),
    localparam int TAKEN_BITS = $clog2(LONGEST + 1)
) (
    input  logic                  clk,
    input  logic                  rst_n,
    // The stream.
    input  logic                  in_valid,
    output logic                  in_ready,
    input  logic [         W-1:0] in_data,
    input  logic                  in_last,
    input  logic                  in_keep,
    // The bits at the front of the stream, zeros after the available ones. `taken` of them, at
    // most the available ones, leave in this cycle.
    output logic [   LONGEST-1:0] window,
    output logic [ FILL_BITS-1:0] available,
    output logic                  closed,  // the last word of the stream is in
    input  logic [TAKEN_BITS-1:0] taken,
    input  logic                  clear
);
  logic [CAPACITY-1:0] buffer;  // filled from the left, zeros after
  logic [FILL_BITS-1:0] fill;   // bits in it

  assign window = buffer[CAPACITY-1-:LONGEST];
  assign available = fill;

  wire [FILL_BITS-1:0] left = fill - FILL_BITS'(taken);
  assign in_ready = !closed && left < FILL_BITS'(LONGEST);
  wire moves = in_valid && in_ready;
  wire word_moves = moves && in_keep;

  // A bit more than is kept, so that no padding has width 0.
  wire [CAPACITY-1:0] placed;
  wire unused;
  assign {placed, unused} = {in_data & {W{word_moves}}, {LONGEST{1'b0}}} >> left;

  always_ff @(posedge clk or negedge rst_n) begin
    if (!rst_n) begin
      buffer <= '0;
      fill   <= '0;
      closed <= 1'b0;
    end else if (clear) begin
      buffer <= '0;
      fill   <= '0;
      closed <= 1'b0;
    end else begin
      buffer <= (buffer << taken) | placed;
      fill   <= word_moves ? left + FILL_BITS'(W) : left;
      if (moves) closed <= in_last;
    end
  end
endmodule
