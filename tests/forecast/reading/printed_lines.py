"""Lines as training programs print them, to be filled with a run of known numbers.

In a form, {s} is the step, {l} the loss, {r} the learning rate, {v} the validation loss; {e} and {f} the epoch counted
from 1 and from 0, {b} the batch of 50; {x} the step before.
"""

from dataclasses import dataclass

import numpy as np

__all__ = ["FORMS", "PER_EPOCH", "STEPS", "Form", "losses", "printed", "rates"]

PER_EPOCH = 50
STEPS = np.arange(10, 401, 10)


def losses(shift=0.0):
    """A loss that falls, as texts."""
    return [f"{2.5 + shift + 4.0 * (1 + step / 40) ** -0.5:.5f}" for step in STEPS]


def rates():
    """A rate that falls after warm-up, as texts."""
    return [f"{3e-4 * min(step / 50, 1.0, 1.2 - step / 500):.4e}" for step in STEPS]


@dataclass(frozen=True)
class Form:
    """What a program prints for each row; every fifth time also `valid`."""

    program: str
    row: str
    loss: str = "train_loss"
    rate: str | None = "learning_rate"
    valid: str = ""
    validation: str = "val_loss"
    head: str = ""
    factor: float = 1.0
    planned: int | None = None


def printed(form, rows=len(STEPS)):
    """The text of a log."""
    parts = [form.head]
    for k, (step, loss, rate, valid) in enumerate(zip(STEPS, losses(), rates(), losses(0.1), strict=True)):
        if k == rows:
            break
        names = {"s": step, "x": step - 1, "l": loss, "r": rate, "v": valid, "b": step % PER_EPOCH, "q": f"{k + 1}"}
        names |= {"e": step // PER_EPOCH + 1, "f": step // PER_EPOCH, "z": f"{step / PER_EPOCH:.2f}"}
        parts.append(form.row.format(**names) + "\n")
        if form.valid and k % 5 == 4:
            parts.append(form.valid.format(**names) + "\n")
    return "".join(parts)


BITS = float(np.log(2))
_STAMP = "2024-05-01 12:00:00,123"
_JSON = '"loss": "{l}", "nll_loss": "9.9", "ppl": "900", "num_updates": "{s}", "lr": "{r}", "gnorm": "1.5"'
FORMS = (
    Form(
        "nanoGPT",
        "iter {s}: loss {l}, lr {r}, time 300.12ms, mfu 40.00%",
        "loss",
        valid="step {s}: train loss {l}, val loss {v}",
    ),
    Form("nanoGPT", "{s} | loss {l} | lr {r} | 9023.10ms | mfu -100.00%", "loss"),
    Form("llm.c (main.log)", "s:{s} trl:{l} lr:{r} norm:0.30", valid="s:{s} tel:{v}"),
    Form(
        "llm.c (console)",
        "step  {s}/900 | loss {l} (+nanz)| norm 15.3 (+nanz)| lr {r} | 3056.36 ms | 42.6% bf16 MFU",
        valid="val loss {v}",
        planned=900,
    ),
    Form("build-nanogpt", "{s} train {l}", rate=None, valid="{s} val {v}\n{s} hella 0.2466"),
    Form(
        "modded-nanogpt",
        "step:{s}/900 train_loss:{l} train_time:1234ms step_avg:100.0ms",
        rate=None,
        valid="step:{s}/900 val_loss:{v} train_time:1234ms step_avg:100.0ms",
        planned=900,
    ),
    Form(
        "fairseq (JSON)",
        f"{_STAMP} | INFO | train_inner | {{{{{_JSON}}}}}",
        "loss",
        valid=f'{_STAMP} | INFO | valid | {{{{"epoch": {{e}}, "valid_loss": "{{v}}", "valid_num_updates": "{{s}}"}}}}',
        factor=BITS,
    ),
    Form(
        "fairseq",
        "| epoch 00{e}:  {b} / 50 loss={l}, nll_loss=9.9, ppl=900, wps=9, num_updates={s}, lr={r}, gnorm=1.5",
        "loss",
        valid="| epoch 00{e} | valid on 'valid' subset | loss {v} | nll_loss 9 | ppl 90 | num_updates {s}",
        factor=BITS,
    ),
    Form(
        "fairseq",
        "| epoch 00{e} | loss {l} | nll_loss 9.9 | ppl 900 | wps 9 | num_updates {s} | lr {r} | gnorm 1.5",
        valid="| epoch 00{e} | valid on 'valid' subset | valid_loss {v} | valid_nll_loss 9 | num_updates {s}",
        factor=BITS,
    ),
    Form("fairseq", "| epoch 00{e}  {b} / 50 loss={l} (1.50), wps=962, lr={r}, clip=100%", "loss", factor=BITS),
    Form(
        "OLMo",
        f"{_STAMP} host:0  olmo.train:908  INFO    [step={{s}}/900,epoch=0]\n    train/CrossEntropyLoss={{l}}\n"
        "    train/Perplexity=1,953\n    optim/learning_rate_group0={r}",
        valid="    eval/c4/CrossEntropyLoss={v}",
        validation="eval/c4/CrossEntropyLoss",
        planned=900,
    ),
    Form("OLMo", "INFO [step={s}/900,epoch=1]\n    optim/LR (group 0)={r}\n    train/CE loss={l}", planned=900),
    Form(
        "Composer, LLM Foundry",
        "[batch={s}/900]:\n\t Train time/epoch: 0\n\t Train loss/train/total: {l}\n\t Train lr-AdamW/group0: {r}",
        valid="[Eval batch=1/10] Eval on eval data:\n\t Eval metrics/eval/LanguageCrossEntropy: {v}",
        planned=900,
    ),
    Form(
        "Megatron-LM, GPT-NeoX, Megatron-DeepSpeed",
        " [2024-05-01 12:00:00] iteration  {s}/  900 | consumed samples:  1249 | learning rate: {r} | lm loss: {l} | x",
        valid=" validation loss at iteration {s} | lm loss value: {v} | lm loss PPL: 1.1E+01 | ",
        planned=900,
    ),
    Form(
        "Megatron-LM, GPT-NeoX, Megatron-DeepSpeed",
        " samples/sec: 7.799 | iteration  {s}/   900 | learning rate: {r} | approx flops: 1TFLOPS | lm_loss: {l} |",
        planned=900,
    ),
    Form("NeMo", "Training epoch 0, iteration {s}/900 | lr: {r} | global_step: {s} | reduced_train_loss: {l} | x: 1"),
    Form(
        "litgpt",
        "Epoch 1 | iter 9{s} step {s} | loss train: {l}, val: n/a | iter time: 45.73 ms (step)",
        rate=None,
        valid="iter 9{s}: val loss {v}, val time: 3778.02 ms",
    ),
    Form("litgpt", "iter 9{s} | step {s}: loss {l}, iter time: 263.85 ms (optimizer.step)", rate=None),
    Form("torchtune", "1|{s}|Loss: {l}:   3%|x   | {s}/808 [00:01<00:09]", rate=None),
    Form("torchtune", "Step {s} | loss:{l} lr:{r} tokens_per_second_per_gpu:57.8"),
    Form(
        "torchtitan",
        f"\x1b[31m[titan] {_STAMP} - root - INFO - \x1b[31mstep: {{s}}  \x1b[32mloss:  {{l}}  \x1b[0mtps: 1",
        rate=None,
    ),
    Form(
        "MaxText",
        "completed step: {s}, seconds: 1.341, TFLOP/s/device: 257.929, Tokens/s/device: 36653.2, loss: {l}",
        rate=None,
    ),
    Form(
        "MLX-LM",
        "Iter {s}: Train loss {l}, Learning Rate {r}, It/sec 2.1",
        valid="Iter {s}: Val loss {v}, Val took 4.2s",
    ),
    Form(
        "Detectron2",
        "[04/05 01:30 d2.utils.events]:  eta: 0:03  iter: {x}  total_loss: {l}  loss_cls: 0.65  lr: {r}  max_mem: 4M",
    ),
    Form(
        "Detectron",
        'json_stats: {{"accuracy_cls": 1.0, "eta": "0:21:51", "iter": {s}, "loss": {l}, "loss_bbox": 0.06, "lr": {r}}}',
    ),
    Form(
        "maskrcnn-benchmark",
        "maskrcnn.trainer INFO: eta: 1 day, 2:00:00  iter: {s}  loss: {l} (1.5)  loss_cls: 0.5 (0.6)  lr: {r}",
    ),
    Form(
        "mmengine, mmcv",
        "05/01 12:00:00 - mmengine - INFO - Epoch(train)  [{e}][ {b}/50]  base_lr: 2.0 lr: {r}  loss: {l}  loss_cls: 3",
    ),
    Form(
        "mmengine, mmcv",
        f"{_STAMP} - mmdet - INFO - Epoch [{{e}}][{{b}}/50]\tlr: {{r}}, eta: 1:00, loss_cls: 0.18, loss: {{l}}",
    ),
    Form(
        "mmengine, mmcv",
        f"{_STAMP} - mmseg - INFO - Iter [{{s}}/900]\tlr: {{r}}, decode.loss_seg: 2.0, loss: {{l}}",
        planned=900,
    ),
    Form(
        "Swin Transformer", "INFO Train: [{f}/300][{b}/50]\teta 10:00 lr {r}\ttime 5.0 (5.0)\tloss {l} (6.9)\tmem 9MB"
    ),
    Form("timm", "Train: {f} [  {b}/50 (  4%)]  Loss: {l} (6.93)  Time: 0.323s  LR: {r}  Data: 0.1 (0.1)"),
    Form(
        "torchvision, DETR, MAE, PaddleDetection",
        "Epoch: [{f}]  [ {b}/50]  eta: 2:46:31  lr: {r}  img/s: 100.2  loss: {l} (6.98)  acc1: 0.0 (0.0)",
    ),
    Form(
        "PyTorch's ImageNet example",
        "Epoch: [{f}][ {b}/50]\tTime  5.0 ( 5.0)\tLoss {l} (7.0e+00)\tAcc@1 0.0 ( 0.0)",
        rate=None,
    ),
    Form(
        "Transformer-XL, PyTorch's word_language_model",
        "| epoch {e} | {b}/ 50 batches | lr {r} | ms/batch 25.56 | loss  {l} | ppl  2050.55",
    ),
    Form(
        "Transformer-XL, PyTorch's word_language_model",
        "| epoch {e} step {s} |  {b} batches | lr {r} | ms/batch 25.56 | loss  {l} | ppl  2050.55",
        valid="| Eval   1 at step {s} | time: 100.0s | valid loss  {v} | valid ppl 36.7",
    ),
    Form("flair", f"{_STAMP} epoch {{e}} - iter {{b}}/50 - loss {{l}} - samples/sec: 40.00 - lr: {{r}}"),
    Form(
        "OpenNMT", "INFO] Step {s}/900; acc:   5.24; ppl: 6520.91; xent: {l}; lr: {r}; 13000/14000 tok/s", planned=900
    ),
    Form(
        "Marian",
        "[2020] Ep. 1 : Up. {s} : Sen. 120,000 : Cost {l} * 1,234,567 after 3,210 : gNorm 1.2 : L.r. {r}",
        valid="[2020] [valid] Ep. 1 : Up. {s} : ce-mean-words : {v} : new best",
    ),
    Form(
        "Caffe",
        "I0101 1 solver.cpp:228] Iteration {s} (2.5 iter/s), loss = {l}\n"
        "I0101 1 sgd_solver.cpp:106] Iteration {s}, lr = {r}",
        valid="I0101 1 solver.cpp:337] Iteration {s}, Testing net (#0)\n    Test net output #1: loss = {v} (* 1)",
    ),
    Form("Darknet", " {s}: 999.5, {l} avg loss, {r} rate, 3.2 seconds, 64 images, 10.0 hours left"),
    Form(
        "TensorFlow (Estimator, slim, object detection)",
        "INFO:tensorflow:loss = {l}, step = {s} (1.000 sec)",
        rate=None,
        valid="INFO:tensorflow:Saving dict for global step {s}: accuracy = 0.5, global_step = {s}, loss = {v}",
    ),
    Form(
        "TensorFlow (Estimator, slim, object detection)",
        "INFO:tensorflow:Step {s} per-step time 0.512s loss={l}",
        rate=None,
    ),
    Form(
        "DeepSpeed",
        "[Rank 0] step={s}, skipped=2, lr=[{r}], mom=[[0.9, 0.9]]\nsteps: {s} loss: {l} iter time (s): 0.5 x",
    ),
    Form(
        "NVIDIA DLLogger", "DLL 2022 - Training Epoch: 1 Training Iteration: {s}  step_loss : {l}  learning_rate : {r} "
    ),
    Form(
        "char-rnn",
        "{s}/900 (epoch 0.005), train_loss = {l}, grad/param norm = 4.5e-01, time/batch = 0.53s",
        rate=None,
        planned=900,
    ),
    Form(
        "progress bars with a loss, as of Lightning",
        "Epoch {f}:  10%|x   | {b}/50 [00:01<00:09,  9.9it/s, v_num=0, train_loss={l}]",
        rate=None,
    ),
    Form(
        "lines with a step and a loss",
        "step  {s} | loss: {l} | lr {r} | norm: 15.3 | dt: 8.1ms",
        "loss",
        valid="validation loss: {v}",
    ),
    Form("lines with a step and a loss", f"{_STAMP} INFO Step: {{s}}, Train Loss: {{l}}, LR: {{r}}, Val Acc: 0.5"),
    Form("lines with a step and a loss", "Epoch [{e}/9], Step [{b}/50], Loss: {l}", "loss", rate=None),
    Form(
        "lines with a step and a loss", "[{s}/900] loss={l} lr={r}", "loss", valid="[{s}/900] val loss={v}", planned=900
    ),
    Form("lines with a step and a loss", "iter: {s} lr: {r} train_loss: {l} val_loss: 9.5"),
)
