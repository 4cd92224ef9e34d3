// The streaming encoder. Register for register, and cycle for cycle, the model (../encoder.h), which
// says what each unit does; tests/cpp/hardware_rtl_test.cpp compares the two.
//
// Ports are valid/ready handshakes: a beat moves at the clock edge of a cycle in which both are high,
// and stays unchanged until then. `last` ends a transmission on its port; `keep` is low on the one
// beat of a stream without words. Registers without a reset need none: they are written before they
// are read.

module ebpc_encoder #(
    parameter int W = 8,               // bits of a word, 2 to 32
    parameter int N = 8,               // non-zero words of a block
    parameter int R = 16,              // longest zero run of one symbol, a power of two
    parameter bit SIGNED = 1'b1,       // words are two's complement
    parameter bit BASE_SENT = 1'b1,    // every block starts with its first word in full
    parameter bit [W-1:0] ZERO = '0    // the word that counts as zero
) (
    input  logic         clk,
    input  logic         rst_n,
    input  logic         word_valid,
    output logic         word_ready,
    input  logic [W-1:0] word_data,
    input  logic         word_last,
    output logic         zero_valid,
    input  logic         zero_ready,
    output logic [W-1:0] zero_data,
    output logic         zero_last,
    output logic         zero_keep,
    output logic         plane_valid,
    input  logic         plane_ready,
    output logic [W-1:0] plane_data,
    output logic         plane_last,
    output logic         plane_keep
);
  localparam int PLANE_BITS = BASE_SENT ? N - 1 : N;  // deltas of a block
  localparam int FIRST = BASE_SENT ? W + 2 : W + 1;   // the first step of a block
  localparam int STEP_END = FIRST + 1;                // the step that ends the stream
  localparam int STEP_BITS = $clog2(STEP_END + 1);
  localparam int COUNT_BITS = $clog2(N + 1);
  localparam int RUN_BITS = $clog2(R);
  localparam int ZERO_LONGEST = 2 + RUN_BITS;
  localparam int INDEXED = 5 + $clog2(N);
  localparam int ZERO_PLANES = 3 + $clog2(W);
  localparam int LONGEST_0 = W > 1 + PLANE_BITS ? W : 1 + PLANE_BITS;
  localparam int LONGEST_1 = INDEXED > ZERO_PLANES ? INDEXED : ZERO_PLANES;
  localparam int LONGEST = LONGEST_0 > LONGEST_1 ? LONGEST_0 : LONGEST_1;

  logic [RUN_BITS-1:0] zeros;               // zero words not yet coded
  logic [W-1:0] base;                       // first word of the block that fills, where it is sent
  logic [W-1:0] previous;                   // the word before, for the next delta
  logic [COUNT_BITS-1:0] filled;            // words of the block that fills, 0 to N
  logic ending;                             // the last word is in, its block not yet handed over
  logic [PLANE_BITS*(W+1)-1:0] deltas;      // block buffer, the first delta in the low bits
  logic [W-1:0] coded_base;                 // plane buffer
  logic [PLANE_BITS*(W+1)-1:0] coded_deltas;
  logic [STEP_BITS-1:0] step;               // symbol coder: counts down, 0 is idle

  // ---- Symbol coder: free for a block in the cycle of its last symbol already -----------------------

  logic [LONGEST-1:0] symbol;
  logic [$clog2(LONGEST+1)-1:0] symbol_length;
  logic [STEP_BITS-1:0] next_step;
  logic plane_packer_ready;

  ebpc_symbol_coder #(
      .W(W), .N(N), .BASE_SENT(BASE_SENT), .PLANE_BITS(PLANE_BITS), .LONGEST(LONGEST),
      .STEP_BITS(STEP_BITS)
  ) symbol_coder (
      .step(step), .base(coded_base), .deltas(coded_deltas), .code(symbol),
      .code_length(symbol_length), .next_step(next_step)
  );

  wire coder_idle = step == 0;
  wire coder_moves = !coder_idle && plane_packer_ready;
  wire coder_free = coder_idle || (coder_moves && next_step == 0);

  ebpc_packer #(.W(W), .LONGEST(LONGEST)) plane_packer (
      .clk(clk), .rst_n(rst_n), .code_valid(!coder_idle), .code_ready(plane_packer_ready),
      .code(symbol), .code_length(symbol_length), .code_end(step == STEP_BITS'(STEP_END)),
      .out_valid(plane_valid), .out_ready(plane_ready), .out_data(plane_data),
      .out_last(plane_last), .out_keep(plane_keep)
  );

  // ---- From the block buffer to the plane buffer; after a transmission's last block, its end --------

  wire block_full = filled == COUNT_BITS'(N);
  wire block_empty = filled == 0;
  wire block_moves = block_full && coder_free;
  wire closes = ending && block_empty && coder_free;
  wire fills_up = ending && !block_empty && !block_full;

  // ---- The word that comes in: zero run-length unit and delta unit ------------------------------------

  wire nonzero = word_data != ZERO;
  // A run is coded with the word that ends it, or by itself where it is as long as it may be.
  localparam int ZERO_LENGTH_BITS = $clog2(ZERO_LONGEST + 1);
  wire after_run = nonzero && zeros != 0;
  wire run_ends = after_run || (!nonzero && (word_last || &zeros));
  wire [RUN_BITS-1:0] run_field = zeros - RUN_BITS'(nonzero);  // its words - 1
  wire [ZERO_LONGEST-1:0] run_code = {1'b0, run_field, nonzero};
  wire [ZERO_LONGEST-1:0] word_code = {nonzero, {(1 + RUN_BITS) {1'b0}}};
  wire [ZERO_LONGEST-1:0] zero_code = run_ends ? run_code : word_code;
  wire [ZERO_LENGTH_BITS-1:0] zero_length =
      ZERO_LENGTH_BITS'(nonzero) + (run_ends ? ZERO_LENGTH_BITS'(1 + RUN_BITS) : '0);
  logic zero_packer_ready;

  wire block_buffer_ready = !nonzero || !block_full || block_moves;
  assign word_ready = zero_packer_ready && block_buffer_ready && !ending;
  wire taken = word_valid && word_ready;

  ebpc_packer #(.W(W), .LONGEST(ZERO_LONGEST)) zero_packer (
      .clk(clk), .rst_n(rst_n), .code_valid(taken), .code_ready(zero_packer_ready),
      .code(zero_code), .code_length(zero_length), .code_end(word_last),
      .out_valid(zero_valid), .out_ready(zero_ready), .out_data(zero_data),
      .out_last(zero_last), .out_keep(zero_keep)
  );

  // A word is stored at the block's start where the block before moves out of its way.
  wire stores = (taken && nonzero) || fills_up;
  wire [W-1:0] stored = word_data & {W{!ending}};
  wire [W:0] delta = {SIGNED && stored[W-1], stored} - {SIGNED && previous[W-1], previous};

  for (genvar i = 0; i < PLANE_BITS; i++) begin : g_delta
    localparam int POSITION = BASE_SENT ? i + 1 : i;
    wire here = filled == COUNT_BITS'(POSITION) || (POSITION == 0 && block_full);
    always_ff @(posedge clk) if (stores && here) deltas[i*(W+1)+:W+1] <= delta;
  end

  always_ff @(posedge clk) begin
    if (BASE_SENT && stores && (block_empty || block_full)) base <= stored;
    if (block_moves) begin
      if (BASE_SENT) coded_base <= base;
      coded_deltas <= deltas;
    end
  end

  always_ff @(posedge clk or negedge rst_n) begin
    if (!rst_n) begin
      zeros    <= '0;
      previous <= '0;
      filled   <= '0;
      ending   <= 1'b0;
      step     <= '0;
    end else begin
      if (taken) zeros <= nonzero || run_ends ? '0 : zeros + 1'b1;
      if (stores) previous <= stored;
      else if (!BASE_SENT && closes) previous <= '0;
      if (stores) filled <= (block_full ? '0 : filled) + 1'b1;
      else if (block_moves) filled <= '0;
      if (taken) ending <= word_last;
      else if (closes) ending <= 1'b0;
      if (block_moves) step <= STEP_BITS'(FIRST);
      else if (closes) step <= STEP_BITS'(STEP_END);
      else if (coder_moves) step <= next_step;
    end
  end
endmodule
