// Symbol decoder: what the symbol at the front of the plane stream says. Combinational. The model's
// PlaneCode::symbol (../plane_code.h).

module ebpc_symbol_decoder #(
    parameter int W = 8,
    parameter int N = 8,
    parameter int PLANE_BITS = 7,
    parameter int LONGEST = 8,
    localparam int LENGTH_BITS = $clog2(LONGEST + 1),
    localparam int COUNT_BITS = $clog2((1 << $clog2(W)) + 2)
) (
    input  logic [    LONGEST-1:0] window,
    output logic [LENGTH_BITS-1:0] length,
    output logic [ COUNT_BITS-1:0] planes,     // that it covers
    output logic [ PLANE_BITS-1:0] dbx,        // what to XOR to the plane below
    output logic                   plane_zero  // the plane itself is zero, whatever is below
);
  localparam int INDEX_BITS = $clog2(N);
  localparam int RUN_BITS = $clog2(W);

  wire [INDEX_BITS-1:0] index = window[LONGEST-6-:INDEX_BITS];
  wire is_literal = window[LONGEST-1];
  wire is_single_zero = window[LONGEST-1-:2] == 2'b01;
  wire is_run = window[LONGEST-1-:3] == 3'b001;
  wire is_short = window[LONGEST-1-:4] == 4'b0000;
  wire is_indexed = window[LONGEST-1-:4] == 4'b0001;
  wire all_ones = is_short && !window[LONGEST-5];
  assign plane_zero = is_short && window[LONGEST-5];

  // The first bit of the plane is its leftmost.
  for (genvar i = 0; i < PLANE_BITS; i++) begin : g_bit
    localparam int AT = PLANE_BITS - 1 - i;
    wire first = index == INDEX_BITS'(i);
    if (i == 0) begin : g_leftmost
      assign dbx[AT] = (is_literal && window[LONGEST-2]) || all_ones || (is_indexed && first);
    end else begin : g_other
      wire second = index == INDEX_BITS'(i - 1) && !window[LONGEST-5];  // of two ones
      assign dbx[AT] =
          (is_literal && window[LONGEST-2-i]) || all_ones || (is_indexed && (first || second));
    end
  end

  assign planes = is_run ? COUNT_BITS'(window[LONGEST-4-:RUN_BITS]) + COUNT_BITS'(2) : COUNT_BITS'(1);
  assign length =
      (LENGTH_BITS'(1 + PLANE_BITS) & {LENGTH_BITS{is_literal}}) |
      (LENGTH_BITS'(2) & {LENGTH_BITS{is_single_zero}}) |
      (LENGTH_BITS'(3 + RUN_BITS) & {LENGTH_BITS{is_run}}) |
      (LENGTH_BITS'(5) & {LENGTH_BITS{is_short}}) |
      (LENGTH_BITS'(5 + INDEX_BITS) & {LENGTH_BITS{is_indexed}});
endmodule
