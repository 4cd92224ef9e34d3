// Encoder and decoder beside each other, with all their registers as two words: in the order of the
// model's register banks, the first in the lowest bits.

module ebpc_lockstep #(
    parameter int W = 8,
    parameter int N = 8,
    parameter int R = 16,
    parameter bit SIGNED = 1'b1,
    parameter bit BASE_SENT = 1'b1,
    parameter bit [W-1:0] ZERO = '0
) (
    input  logic          clk,
    input  logic          rst_n,
    // The encoder.
    input  logic          e_word_valid,
    output logic          e_word_ready,
    input  logic [ W-1:0] e_word_data,
    input  logic          e_word_last,
    output logic          e_zero_valid,
    input  logic          e_zero_ready,
    output logic [ W-1:0] e_zero_data,
    output logic          e_zero_last,
    output logic          e_zero_keep,
    output logic          e_plane_valid,
    input  logic          e_plane_ready,
    output logic [ W-1:0] e_plane_data,
    output logic          e_plane_last,
    output logic          e_plane_keep,
    output logic [639:0] e_registers,
    // The decoder.
    input  logic          d_count_valid,
    output logic          d_count_ready,
    input  logic [  23:0] d_count_data,
    input  logic          d_zero_valid,
    output logic          d_zero_ready,
    input  logic [ W-1:0] d_zero_data,
    input  logic          d_zero_last,
    input  logic          d_zero_keep,
    input  logic          d_plane_valid,
    output logic          d_plane_ready,
    input  logic [ W-1:0] d_plane_data,
    input  logic          d_plane_last,
    input  logic          d_plane_keep,
    output logic          d_word_valid,
    input  logic          d_word_ready,
    output logic [ W-1:0] d_word_data,
    output logic          d_word_last,
    output logic [639:0] d_registers
);
  ebpc_encoder #(
      .W(W), .N(N), .R(R), .SIGNED(SIGNED), .BASE_SENT(BASE_SENT), .ZERO(ZERO)
  ) e (
      .clk(clk), .rst_n(rst_n), .word_valid(e_word_valid), .word_ready(e_word_ready),
      .word_data(e_word_data), .word_last(e_word_last), .zero_valid(e_zero_valid),
      .zero_ready(e_zero_ready), .zero_data(e_zero_data), .zero_last(e_zero_last),
      .zero_keep(e_zero_keep), .plane_valid(e_plane_valid), .plane_ready(e_plane_ready),
      .plane_data(e_plane_data), .plane_last(e_plane_last), .plane_keep(e_plane_keep)
  );

  ebpc_decoder #(.W(W), .N(N), .R(R), .BASE_SENT(BASE_SENT), .ZERO(ZERO)) d (
      .clk(clk), .rst_n(rst_n), .count_valid(d_count_valid), .count_ready(d_count_ready),
      .count_data(d_count_data), .zero_valid(d_zero_valid), .zero_ready(d_zero_ready),
      .zero_data(d_zero_data), .zero_last(d_zero_last), .zero_keep(d_zero_keep),
      .plane_valid(d_plane_valid), .plane_ready(d_plane_ready), .plane_data(d_plane_data),
      .plane_last(d_plane_last), .plane_keep(d_plane_keep), .word_valid(d_word_valid),
      .word_ready(d_word_ready), .word_data(d_word_data), .word_last(d_word_last)
  );

  if (BASE_SENT) begin : g_base
    assign e_registers = 640'({
        e.plane_packer.ending, e.plane_packer.fill, e.plane_packer.buffer, e.step, e.coded_deltas,
        e.coded_base, e.deltas, e.ending, e.filled, e.previous, e.base, e.zero_packer.ending,
        e.zero_packer.fill, e.zero_packer.buffer, e.zeros});
    assign d_registers = 640'({
        d.block_left, d.deltas, d.word, d.planes, d.base, d.step, d.plane_unpacker.closed,
        d.plane_unpacker.fill, d.plane_unpacker.buffer, d.zeros_left, d.zero_unpacker.closed,
        d.zero_unpacker.fill, d.zero_unpacker.buffer, d.words_left});
  end else begin : g_no_base
    assign e_registers = 640'({
        e.plane_packer.ending, e.plane_packer.fill, e.plane_packer.buffer, e.step, e.coded_deltas,
        e.deltas, e.ending, e.filled, e.previous, e.zero_packer.ending, e.zero_packer.fill,
        e.zero_packer.buffer, e.zeros});
    assign d_registers = 640'({
        d.block_left, d.deltas, d.word, d.planes, d.step, d.plane_unpacker.closed,
        d.plane_unpacker.fill, d.plane_unpacker.buffer, d.zeros_left, d.zero_unpacker.closed,
        d.zero_unpacker.fill, d.zero_unpacker.buffer, d.words_left});
  end
endmodule
