// The streaming decoder. Register for register, and cycle for cycle, the model (../decoder.h), which
// says what each unit does; tests/cpp/hardware_rtl_test.cpp compares the two.
//
// Ports are as the encoder's (ebpc_encoder.sv). The number of words of a transmission comes first, on
// a port of its own.

module ebpc_decoder #(
    parameter int W = 8,               // bits of a word, 2 to 32
    parameter int N = 8,               // non-zero words of a block
    parameter int R = 16,              // longest zero run of one symbol, a power of two
    parameter bit BASE_SENT = 1'b1,    // every block starts with its first word in full
    parameter bit [W-1:0] ZERO = '0    // the word that counts as zero
) (
    input  logic         clk,
    input  logic         rst_n,
    input  logic         count_valid,
    output logic         count_ready,
    input  logic [ 23:0] count_data,
    input  logic         zero_valid,
    output logic         zero_ready,
    input  logic [W-1:0] zero_data,
    input  logic         zero_last,
    input  logic         zero_keep,
    input  logic         plane_valid,
    output logic         plane_ready,
    input  logic [W-1:0] plane_data,
    input  logic         plane_last,
    input  logic         plane_keep,
    output logic         word_valid,
    input  logic         word_ready,
    output logic [W-1:0] word_data,
    output logic         word_last
);
  localparam int PLANE_BITS = BASE_SENT ? N - 1 : N;  // deltas of a block
  localparam int FIRST = BASE_SENT ? 1 : 0;           // step of plane 0; the base's is 0
  localparam int STEP_FULL = FIRST + W + 1;           // a complete block
  localparam int STEP_BITS = $clog2(STEP_FULL + 1);
  localparam int COUNT_BITS = $clog2(N + 1);
  localparam int RUN_BITS = $clog2(R);
  localparam int INDEXED = 5 + $clog2(N);
  localparam int ZERO_PLANES = 3 + $clog2(W);
  localparam int LONGEST_0 = W > 1 + PLANE_BITS ? W : 1 + PLANE_BITS;
  localparam int LONGEST_1 = INDEXED > ZERO_PLANES ? INDEXED : ZERO_PLANES;
  localparam int LONGEST = LONGEST_0 > LONGEST_1 ? LONGEST_0 : LONGEST_1;
  localparam int LENGTH_BITS = $clog2(LONGEST + 1);

  logic [23:0] words_left;
  logic [RUN_BITS-1:0] zeros_left;       // zero words of the run that are still to come
  logic [STEP_BITS-1:0] step;            // symbol decoder
  logic [W-1:0] base;                    // plane buffer
  logic [W*PLANE_BITS-1:0] planes;       // plane 0 in the low bits
  logic [W-1:0] word;                    // delta reverse: the next non-zero word
  logic [(N-1)*W-1:0] deltas;            // modulo 2^W, the first in the low bits
  logic [COUNT_BITS-1:0] block_left;     // words of the block that are still to leave

  // ---- Zero run-length decoder, and the word that leaves ----------------------------------------------

  logic [RUN_BITS:0] zero_window;
  logic [$clog2(W+RUN_BITS+1)-1:0] zero_available;
  wire run_goes_on = zeros_left != 0;
  wire nonzero = !run_goes_on && zero_window[RUN_BITS];
  wire known = run_goes_on ||
      (nonzero ? zero_available != 0 : zero_available > $clog2(W + RUN_BITS + 1)'(RUN_BITS));
  logic plane_closed;

  assign word_last = words_left == 1;
  // A plane stream without words ends by a beat of its own, which may come late.
  assign word_valid = words_left != 0 && known && (!word_last || plane_closed) &&
      (!nonzero || block_left != 0);
  assign word_data = nonzero ? word : ZERO;
  wire leaves = word_valid && word_ready;
  wire word_leaves = leaves && nonzero;
  wire ends = leaves && word_last;

  localparam int ZERO_LENGTH_BITS = $clog2(RUN_BITS + 2);
  wire [ZERO_LENGTH_BITS-1:0] zero_taken =
      !leaves || run_goes_on ? '0 : nonzero ? ZERO_LENGTH_BITS'(1) : ZERO_LENGTH_BITS'(1 + RUN_BITS);
  logic unused_closed;

  ebpc_unpacker #(.W(W), .LONGEST(1 + RUN_BITS)) zero_unpacker (
      .clk(clk), .rst_n(rst_n), .in_valid(zero_valid), .in_ready(zero_ready), .in_data(zero_data),
      .in_last(zero_last), .in_keep(zero_keep), .window(zero_window), .available(zero_available),
      .closed(unused_closed), .taken(zero_taken), .clear(ends)
  );

  // ---- Symbol decoder: goes on with the next block in the cycle that hands one over --------------------

  wire block_full = step == STEP_BITS'(STEP_FULL);
  wire block_empty = block_left == 0;
  wire block_moves = block_full && (block_empty || (word_leaves && block_left == 1));

  logic [LONGEST-1:0] window;
  logic [$clog2(W+LONGEST)-1:0] available;
  logic [LENGTH_BITS-1:0] symbol_length;
  localparam int RUN_COUNT_BITS = $clog2((1 << $clog2(W)) + 2);
  logic [RUN_COUNT_BITS-1:0] symbol_planes;
  logic [PLANE_BITS-1:0] dbx;
  logic plane_zero;

  ebpc_symbol_decoder #(.W(W), .N(N), .PLANE_BITS(PLANE_BITS), .LONGEST(LONGEST)) symbol_decoder (
      .window(window), .length(symbol_length), .planes(symbol_planes), .dbx(dbx),
      .plane_zero(plane_zero)
  );

  wire [STEP_BITS-1:0] from = step & {STEP_BITS{!block_full}};
  wire is_base = BASE_SENT && from == 0;
  wire [LENGTH_BITS-1:0] length = is_base ? LENGTH_BITS'(W) : symbol_length;
  wire decodes = (!block_full || block_moves) && available >= $clog2(W + LONGEST)'(length);
  wire [STEP_BITS:0] up_to =
      {1'b0, from} + (is_base ? (STEP_BITS + 1)'(1) : (STEP_BITS + 1)'(symbol_planes));
  wire past_top = up_to > (STEP_BITS + 1)'(STEP_FULL);  // only of a damaged stream
  wire [LENGTH_BITS-1:0] plane_taken = length & {LENGTH_BITS{decodes}};

  ebpc_unpacker #(.W(W), .LONGEST(LONGEST)) plane_unpacker (
      .clk(clk), .rst_n(rst_n), .in_valid(plane_valid), .in_ready(plane_ready),
      .in_data(plane_data), .in_last(plane_last), .in_keep(plane_keep), .window(window),
      .available(available), .closed(plane_closed), .taken(plane_taken), .clear(ends)
  );

  logic [PLANE_BITS-1:0] below;
  always_comb begin
    below = '0;
    for (int p = 1; p < W; p++) begin
      below = below |
          (planes[(p-1)*PLANE_BITS+:PLANE_BITS] & {PLANE_BITS{from == STEP_BITS'(FIRST + p)}});
    end
  end
  wire [PLANE_BITS-1:0] plane = (below ^ dbx) & {PLANE_BITS{!plane_zero}};

  for (genvar p = 0; p < W; p++) begin : g_plane
    wire here = from <= STEP_BITS'(FIRST + p) && up_to > (STEP_BITS + 1)'(FIRST + p);
    always_ff @(posedge clk) begin
      if (decodes && here && !is_base) planes[p*PLANE_BITS+:PLANE_BITS] <= plane;
    end
  end

  // ---- Delta reverse ----------------------------------------------------------------------------------

  // Transposed: bit p of delta i is bit i of plane p, counted from the left.
  wire [PLANE_BITS*W-1:0] decoded;
  for (genvar i = 0; i < PLANE_BITS; i++) begin : g_delta
    for (genvar p = 0; p < W; p++) begin : g_bit
      assign decoded[i*W+p] = planes[p*PLANE_BITS+PLANE_BITS-1-i];
    end
  end

  // One adder: to the word that leaves, or with the base re-used to the last word of the block before.
  logic [W-1:0] delta;
  always_comb begin
    delta = '0;
    for (int i = 0; i < N - 1; i++) begin
      delta = delta | (deltas[i*W+:W] & {W{block_left == COUNT_BITS'(N - i)}});
    end
  end
  wire [W-1:0] sum = word + (!BASE_SENT && block_moves ? decoded[W-1:0] : delta);

  always_ff @(posedge clk) begin
    if (decodes && is_base) base <= window[LONGEST-1-:W];
    if (block_moves) deltas <= decoded[PLANE_BITS*W-1-:(N-1)*W];
  end

  always_ff @(posedge clk or negedge rst_n) begin
    if (!rst_n) begin
      words_left <= '0;
      zeros_left <= '0;
      step       <= '0;
      word       <= '0;
      block_left <= '0;
    end else begin
      if (leaves) words_left <= words_left - 1'b1;
      else if (count_valid && count_ready) words_left <= count_data;

      if (ends) zeros_left <= '0;
      else if (leaves) begin
        if (run_goes_on) zeros_left <= zeros_left - 1'b1;
        else zeros_left <= zero_window[RUN_BITS-1:0] & {RUN_BITS{!nonzero}};
      end

      if (ends) step <= '0;
      else if (decodes) step <= past_top ? STEP_BITS'(STEP_FULL) : up_to[STEP_BITS-1:0];
      else if (block_moves) step <= '0;

      if (!BASE_SENT && ends) word <= '0;
      else if (BASE_SENT && block_moves) word <= base;
      else if (word_leaves || block_moves) word <= sum;

      if (ends) block_left <= '0;
      else if (block_moves) block_left <= COUNT_BITS'(N);
      else if (word_leaves) block_left <= block_left - 1'b1;
    end
  end
  assign count_ready = words_left == 0;
endmodule
