"use strict";
const plots = [...document.querySelectorAll(".plot")];
for (const plot of plots) {
  const spec = JSON.parse(document.getElementById(plot.dataset.spec).textContent);
  Plotly.newPlot(plot, spec.data, spec.layout, {
    responsive: true,
    displaylogo: false,
    showSendToCloud: false, // the button of plotly 7 that uploads a figure
    plotlyServerURL: "",
    modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    toImageButtonOptions: { format: "svg", filename: plot.dataset.name },
  });
}
// Paper is narrower than most windows, and printing does not tell plotly.
window.addEventListener("beforeprint", () => plots.forEach((plot) => Plotly.relayout(plot, { width: 680 })));
window.addEventListener("afterprint", () => plots.forEach((plot) => Plotly.relayout(plot, { width: null, autosize: true })));
