// Symbol coder: the code of one step of a block, and the step that follows it. Combinational. The
// model's Encoder::coder_step (../encoder.cpp) and PlaneCode (../plane_code.h).
//
// Plane p (DBP) is bit p of every delta, the first delta leftmost; X[p] (DBX) is its XOR with the
// plane below. A run of planes whose X is zero is one symbol.

module ebpc_symbol_coder #(
    parameter int W = 8,
    parameter int N = 8,
    parameter bit BASE_SENT = 1'b1,
    parameter int PLANE_BITS = 7,
    parameter int LONGEST = 8,
    parameter int STEP_BITS = 4,
    localparam int LENGTH_BITS = $clog2(LONGEST + 1)
) (
    input  logic [               STEP_BITS-1:0] step,
    input  logic [                       W-1:0] base,
    input  logic [PLANE_BITS*(W+1)-1:0] deltas,
    output logic [                 LONGEST-1:0] code,         // left-justified
    output logic [             LENGTH_BITS-1:0] code_length,  // 0 at the end of the stream
    output logic [               STEP_BITS-1:0] next_step
);
  localparam int PLANE_0 = W + 1;  // its step, from which the planes' count down
  localparam int INDEX_BITS = $clog2(N);
  localparam int RUN_BITS = $clog2(W);
  localparam int P = LONGEST + 1;  // codes with a bit after them, so that no padding has width 0

  // ---- All planes --------------------------------------------------------------------------------

  wire is_base = BASE_SENT && step == STEP_BITS'(PLANE_0 + 1);
  logic [W:0] at;        // the step is that of plane p
  logic [W:0] x_zero;    // X[p] is zero
  logic [W:0] dbp_zero;  // plane p is zero
  logic [(W+1)*PLANE_BITS-1:0] x_planes;
  wire [W:0] x_zero_above = x_zero >> 1;  // X[p+1] is zero

  for (genvar p = 0; p <= W; p++) begin : g_plane
    wire [PLANE_BITS-1:0] dbp;
    wire [PLANE_BITS-1:0] dbx;
    for (genvar i = 0; i < PLANE_BITS; i++) begin : g_delta
      assign dbp[PLANE_BITS-1-i] = deltas[i*(W+1)+p];
      if (p == 0) begin : g_lowest
        assign dbx[PLANE_BITS-1-i] = deltas[i*(W+1)];
      end else begin : g_above
        assign dbx[PLANE_BITS-1-i] = deltas[i*(W+1)+p] ^ deltas[i*(W+1)+p-1];
      end
    end
    assign x_planes[p*PLANE_BITS+:PLANE_BITS] = dbx;
    assign x_zero[p] = dbx == 0;
    assign dbp_zero[p] = dbp == 0;
    assign at[p] = step == STEP_BITS'(PLANE_0 - p);
  end

  // ---- The plane of this step, and the one after its symbol --------------------------------------

  logic [PLANE_BITS-1:0] x;
  logic plane_zero;
  logic run;                  // of zero planes goes from below into plane p
  logic is_run;               // such a run has more than one plane
  always_comb begin
    x = '0;
    plane_zero = 1'b0;
    run = 1'b0;
    is_run = 1'b0;
    next_step = is_base ? STEP_BITS'(PLANE_0) : '0;
    for (int p = 0; p <= W; p++) begin
      x = x | (x_planes[p*PLANE_BITS+:PLANE_BITS] & {PLANE_BITS{at[p]}});
      plane_zero = plane_zero | (at[p] & dbp_zero[p]);
      is_run = is_run | (run & x_zero[p]);
      run = (run | at[p]) & x_zero[p];
      if ((run & !x_zero_above[p]) | (at[p] & !x_zero[p])) begin
        next_step = next_step | STEP_BITS'(PLANE_0 - p - 1);
      end
    end
  end
  wire [RUN_BITS-1:0] run_field = RUN_BITS'(step) - RUN_BITS'(next_step) - RUN_BITS'(2);

  // ---- The symbol ----------------------------------------------------------------------------------

  // The first one of x from the left, and what is right of it: none, its neighbour alone, or more.
  logic seen;       // a one left of bit i
  logic neighbour;  // it is the first one, and the next bit
  logic [INDEX_BITS-1:0] index;
  logic others;
  logic far_others;
  always_comb begin
    seen = 1'b0;
    neighbour = 1'b0;
    index = '0;
    others = 1'b0;
    far_others = 1'b0;
    for (int i = PLANE_BITS - 1; i >= 0; i--) begin
      others = others | (x[i] & seen);
      far_others = far_others | (x[i] & seen & !neighbour);
      neighbour = x[i] & !seen;
      if (neighbour) index = index | INDEX_BITS'(PLANE_BITS - 1 - i);
      seen = seen | x[i];
    end
  end

  wire is_plane = at != 0;
  wire is_single_zero = is_plane && !seen && !is_run;
  wire is_nonzero = seen;  // x is selected by the plane: zero without one
  wire all_ones = &x;
  wire is_short = is_nonzero && (all_ones || plane_zero);
  wire is_indexed = is_nonzero && !all_ones && !plane_zero && !far_others;
  wire is_literal = is_nonzero && !all_ones && !plane_zero && far_others;

  wire [P-1:0] base_code = {base, {(P - W) {1'b0}}};
  wire [P-1:0] literal_code = {1'b1, x, {(P - 1 - PLANE_BITS) {1'b0}}};
  wire [P-1:0] single_zero_code = {2'b01, {(P - 2) {1'b0}}};
  wire [P-1:0] run_code = {3'b001, run_field, {(P - 3 - RUN_BITS) {1'b0}}};
  wire [P-1:0] short_code = {4'b0000, !all_ones, {(P - 5) {1'b0}}};
  wire [P-1:0] indexed_code = {4'b0001, !others, index, {(P - 5 - INDEX_BITS) {1'b0}}};
  logic unused;
  wire [P-1:0] padded_code =
      (base_code & {P{is_base}}) | (literal_code & {P{is_literal}}) |
      (single_zero_code & {P{is_single_zero}}) | (run_code & {P{is_run}}) |
      (short_code & {P{is_short}}) | (indexed_code & {P{is_indexed}});
  assign {code, unused} = padded_code;
  assign code_length =
      (LENGTH_BITS'(W) & {LENGTH_BITS{is_base}}) |
      (LENGTH_BITS'(1 + PLANE_BITS) & {LENGTH_BITS{is_literal}}) |
      (LENGTH_BITS'(2) & {LENGTH_BITS{is_single_zero}}) |
      (LENGTH_BITS'(3 + RUN_BITS) & {LENGTH_BITS{is_run}}) |
      (LENGTH_BITS'(5) & {LENGTH_BITS{is_short}}) |
      (LENGTH_BITS'(5 + INDEX_BITS) & {LENGTH_BITS{is_indexed}});
endmodule
