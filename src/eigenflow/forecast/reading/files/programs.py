"""Lines that training programs print, one entry a program. A new program is one entry more.

Of two entries that know as many lines of a file, the first is taken.
"""

from eigenflow.forecast.reading.files.text_patterns import LN2, NUMBER, RATE, LogPattern

__all__ = ["PATTERNS"]

PATTERNS: tuple[LogPattern, ...] = (
    LogPattern(
        "nanoGPT",
        (
            r"\bstep <step>: train loss <train_loss>, val loss <val_loss>",
            r"\biter <step>: loss <loss>",
            r"^\W*<step> \| loss <loss> \| lr ",
        ),
        also=(RATE,),
    ),
    LogPattern(
        "llm.c (main.log)",
        (r"\bs:<step> trl:<train_loss>(?:.*? lr:<learning_rate>)?", r"\bs:<step> tel:<val_loss>"),
        marks=(" trl:", " tel:"),
    ),
    LogPattern(
        "llm.c (console)",
        (r"\bstep +<step>/<total> \| (?:train )?loss +<train_loss>", r"^\W*val loss <val_loss>"),
        also=(r"\| lr <learning_rate>",),
    ),
    LogPattern(
        "build-nanogpt",
        (r"^<step> train <train_loss>\s*$", r"^<step> val <val_loss>\s*$"),
        marks=(" train ", " val "),
    ),
    LogPattern(
        "modded-nanogpt",
        (r"\bstep:<step>/<total> train_loss:<train_loss>", r"\bstep:<step>/<total> val_loss:<val_loss>"),
        marks=("_loss:",),
    ),
    LogPattern(
        "fairseq (JSON)",
        (
            r"\| train_inner \| \{.*?\"loss\": \"?<loss>",
            r"\| train \| \{.*?\"train_loss\": \"?<train_loss>",
            r"\| valid\w* \| \{.*?\"valid_loss\": \"?<val_loss>",
        ),
        also=(
            r"\"(?:train_|valid_)?num_updates\": \"?<step>",
            r"\"(?:train_|valid_)?nll_loss\": \"?<nll_loss>",
            r"\"(?:train_)?lr\": \"?<learning_rate>",
        ),
        nats=LN2,
    ),
    LogPattern(
        "fairseq",
        (
            r"\bepoch <epoch>:? +<at> / <of> .*?\bloss=<loss>",
            r"\bepoch <epoch> \| valid on '[^']*' subset \|.*?\bloss <val_loss>",
            r"\bepoch <epoch> \| valid on '[^']*' subset \|.*?valid_loss <val_loss>",
            r"\bepoch <epoch> \| (?:train )?loss <train_loss>",
        ),
        also=(
            r"\bnum_updates[ =]<step>",
            r"\b(?:valid_)?nll_loss[ =]<nll_loss>",
            r"\blr[ =]<learning_rate>",
        ),
        first_epoch=1,
        nats=LN2,
    ),
    LogPattern(
        "OLMo",
        (
            r"^\s*train/(?:CrossEntropyLoss|CE loss)=<train_loss>",
            r"^\s*optim/(?:learning_rate_group0|LR(?: \(group 0\))?)=<learning_rate>",
            r"^\s*throughput/total[ _]tokens=<tokens>",
            r"^\s*eval/\S+(?:CrossEntropyLoss|CE loss)=",
        ),
        pairs=rf"(?P<key>eval/\S+(?:CrossEntropyLoss|CE loss))=(?P<value>{NUMBER})",
        heads=(r"\[step=<step>/<total>", r"\[step=<step>\b"),
        marks=("[step=", "CrossEntropyLoss=", "CE loss=", "optim/", "throughput/total"),
    ),
    LogPattern(
        "Composer, LLM Foundry",
        (
            r"\bTrain loss/train/total: <train_loss>",
            r"\bTrain lr-\w+/group0: <learning_rate>",
            r"\bEval metrics/eval/(?:LanguageCrossEntropy|CrossEntropy): <val_loss>",
        ),
        heads=(r"\[batch=<step>/<total>\]",),
        marks=("[batch=", "loss/train/total", "Train lr-", "Eval metrics/"),
    ),
    LogPattern(
        "Megatron-LM, GPT-NeoX, Megatron-DeepSpeed",
        (
            r"\biteration +<step>/ *<total> \|",
            r"\bvalidation loss at iteration +<step> [^|]*\| *lm[ _]loss value: <val_loss>",
        ),
        also=(
            r"\blm[ _]loss: <train_loss>",
            r"\blearning rate: <learning_rate>",
            r"\bconsumed tokens: *<tokens>",
        ),
        marks=("lm loss", "lm_loss"),
    ),
    LogPattern(
        "NeMo",
        (r"\breduced_train_loss[:=] ?<train_loss>",),
        also=(r"\bglobal_step[:=] ?<step>", r"\blr: <learning_rate>"),
        marks=("reduced_train_loss",),
    ),
    LogPattern(
        "litgpt",
        (
            r"\biter \d+ (?:\| )?st[Ee]p <step>(?:: loss| \| loss train:|: loss train:?)(?: \(curr\):)? <train_loss>",
            r"\biter \d+: val loss <val_loss>",
        ),
        marks=("iter ",),
    ),
    LogPattern(
        "Detectron",
        (r"\bjson_stats: \{.*\"iter\": <step>, .*?\"loss\": <train_loss>",),
        also=(r"\"lr\": <learning_rate>",),
        marks=("json_stats",),
    ),
    LogPattern(
        "printed dicts, as of Hugging Face's trainer",
        (r"\{.*?['\"][\w/@. -]*loss['\"]: ",),
        pairs=rf"['\"](?P<key>[\w/@. -]+)['\"]: ?(?:[\w.]+\()?['\"]?(?P<value>{NUMBER})['\")]*\s*[,}}]",
        marks=("loss'", 'loss"', "%|"),
        is_dict=True,
    ),
    LogPattern(
        "torchtune",
        (r"\bStep <step> \| .*?\bloss:<train_loss>", r"^\W*\d+\|<step>\|Loss: <train_loss>"),
        also=(r"\blr:<learning_rate>",),
        marks=("loss:", "|Loss: "),
    ),
    LogPattern(
        "torchtitan",
        (r"\bvalidate step: +<step> +loss: +<val_loss>", r"\bstep: +<step> +loss: +<train_loss>"),
        also=(r"\blr: +<learning_rate>",),
    ),
    LogPattern("MaxText", (r"\bcompleted step: <step>, .*?\bloss: <train_loss>",)),
    LogPattern(
        "MLX-LM",
        (
            r"\bIter <step>: Train loss <train_loss>, Learning Rate <learning_rate>",
            r"\bIter <step>: Val loss <val_loss>",
        ),
    ),
    LogPattern(
        "Detectron2",
        (
            r"\biter: <step> .*?\btotal_loss: <train_loss>",
            r"\biter: <step> .*?\b(?:total_)?val(?:idation)?_loss: <val_loss>",
        ),
        also=(r"\blr: <learning_rate>",),
        marks=("total_loss: ",),
        shift=1,
        note="its iterations count from 0, so a row at `iter: 19` is one after 20 updates",
    ),
    LogPattern(
        "maskrcnn-benchmark",
        (r"\beta: .*?\biter: <step> .*?\bloss: <train_loss>",),
        also=(r"\blr: <learning_rate>",),
        marks=("iter: ",),
    ),
    LogPattern(
        "mmengine, mmcv",
        (
            r"\bEpoch(?:\(train\))? +\[<epoch>\]\[ *<at>/<of>\]",
            r"\bIter(?:\(train\))? +\[ *<step>/<total>\]",
        ),
        also=(r"\bloss: <train_loss>", r"(?<!base_)\blr: <learning_rate>"),
        first_epoch=1,
    ),
    LogPattern(
        "Swin Transformer",
        (r"\bTrain: \[<epoch>/\d+\]\[<at>/<of>\].*?\bloss <train_loss>",),
        also=(r"\blr <learning_rate>",),
        first_epoch=0,
    ),
    LogPattern(
        "timm",
        (r"\bTrain: <epoch> \[ *<at>/<of> .*?\bLoss: +<train_loss>",),
        also=(r"\bLR: <learning_rate>",),
        marks=("Loss",),
        first_epoch=0,
    ),
    LogPattern(
        "torchvision, DETR, MAE, PaddleDetection",
        (r"\bEpoch: \[<epoch>\] +\[ *<at>/<of>\] .*?\bc?loss: +<train_loss>",),
        also=(r"\b(?:lr|learning_rate): <learning_rate>",),
        first_epoch=0,
    ),
    LogPattern(
        "PyTorch's ImageNet example",
        (r"\bEpoch: \[<epoch>\]\[ *<at>/<of>\].*?\bLoss +<train_loss>",),
        also=(r"\b(?i:lr)[: ]+<learning_rate>",),
        marks=("Loss",),
        first_epoch=0,
    ),
    LogPattern(
        "PyTorch's MNIST example",
        (r"\bTrain Epoch: <epoch> \[<at>/<of> \(.*?Loss: <train_loss>",),
        marks=("Loss",),
        first_epoch=1,
        note="its lines count samples, so a step is one sample",
    ),
    LogPattern(
        "Transformer-XL, PyTorch's word_language_model",
        (
            r"\| epoch +<epoch>(?: step +<step>)? \| +<at>(?:/ *<of>)? batches \|.*?\| loss +<train_loss>",
            r"\| end of epoch +<epoch> \|.*?\bvalid loss +<val_loss>",
            r"\| Eval +\d+ at step +<step> \|.*?\bvalid loss +<val_loss>",
        ),
        also=(r"\| lr +<learning_rate>",),
        first_epoch=1,
    ),
    LogPattern(
        "flair",
        (r"\bepoch <epoch> - iter <at>/<of> - loss <train_loss>",),
        also=(r"\blr: <learning_rate>",),
        first_epoch=1,
    ),
    LogPattern(
        "icefall",
        (
            r"\bEpoch <epoch>, batch <at>, .*?tot_loss\[loss=<train_loss>",
            r"\bEpoch <epoch>, validation: loss=<val_loss>",
        ),
        also=(r"\blr: <learning_rate>",),
        first_epoch=1,
    ),
    LogPattern(
        "ESPnet",
        (r"\b<epoch>epoch:train:\d+-<at>batch: .*?\bloss=<train_loss>",),
        also=(r"\boptim0_lr0=<learning_rate>",),
        marks=("epoch:train:",),
        first_epoch=1,
    ),
    LogPattern(
        "WeNet",
        (r"\bTRAIN Batch <epoch>/<at> loss <train_loss>", r"\bCV Batch <epoch>/\d+ loss <val_loss>"),
        also=(r"\blr <learning_rate>",),
        marks=(" Batch ",),
        first_epoch=0,
    ),
    LogPattern(
        "OpenNMT",
        (r"\bStep <step>/ *<total>;.*?\bxent: +<train_loss>",),
        also=(r"\blr: +<learning_rate>",),
        marks=("xent",),
    ),
    LogPattern(
        "Marian",
        (
            r"\[valid\] .*?\bUp\. <step> : (?:ce-mean-words|cross-entropy) : <val_loss>",
            r"\bUp\. <step> : .*?\bCost <train_loss>",
        ),
        also=(r"\bL\.r\. <learning_rate>",),
        marks=("Up. ",),
    ),
    LogPattern(
        "Caffe",
        (
            r"\bIteration <step>(?: \([^)]*\))?, loss = <train_loss>",
            r"\bIteration <step>, lr = <learning_rate>",
            r"\bTest net output #\d+: \w*loss\w* = <val_loss>",
        ),
        heads=(r"\bIteration <step>, Testing net",),
        marks=("Iteration ", "Test net output"),
    ),
    LogPattern(
        "Darknet",
        (r"^\W*<step>: [\d.]+, <train_loss> avg(?: loss)?, <learning_rate> rate",),
        marks=(" rate,",),
    ),
    LogPattern(
        "TensorFlow (Estimator, slim, object detection)",
        (
            r"\bSaving dict for global step <step>: .*?\bloss = <val_loss>",
            r"\bloss = <train_loss>, step = <step>\b",
            r"\bglobal step <step>: loss = <train_loss>",
            r"\bStep <step> per-step time .*?\bloss=<train_loss>",
        ),
    ),
    LogPattern(
        "DeepSpeed",
        (r"\bsteps: <step> loss: <train_loss> iter time", r"\bstep=<step>, skipped=\d+, lr=\[<learning_rate>"),
        marks=(" loss: ", "skipped="),
    ),
    LogPattern(
        "NVIDIA DLLogger",
        (r"\bTraining Iteration: <step> .*?\b(?:step|average)_loss : <train_loss>",),
        also=(r"\blearning_rate : <learning_rate>",),
    ),
    LogPattern(
        "char-rnn",
        (r"^\W*<step>/<total> \(epoch [\d.]+\), train_loss = <train_loss>",),
    ),
    LogPattern(
        "YOLOv5 (results.txt)",
        (
            r"^\s*<epoch>/\d+ +[\d.]+[GM] +<box_loss> +<obj_loss> +<cls_loss> +<loss> +\d+ +\d+\b"
            r"(?: +[\d.e+-]+){4} +<val_box_loss> +<val_obj_loss> +<val_cls_loss>",
            r"^\s*<epoch>/\d+ +[\d.]+[GM] +<box_loss> +<obj_loss> +<cls_loss> +<loss> +\d+ +\d+\b",
        ),
        marks=("G  ", "M  "),
        first_epoch=0,
        note="`loss` is its total of box, object and class losses",
    ),
    LogPattern(
        "progress bars with a loss, as of Lightning",
        (
            r"\bEpoch:? \[?<epoch>(?:/\d+)?\]?:? +\d+%\|.*?\| *<at>/<of> \["
            r".*?\b(?:train_)?loss(?:_step)?[=:] ?<train_loss>",
        ),
        marks=("loss",),
    ),
    LogPattern(
        "Keras' progress lines",
        (r"^\W*(?:<at>/<of>\b)?.*?\b\d+(?:ms|us|s)\b.*? - loss: ",),
        pairs=rf" - (?!ETA)(?P<key>[\w/]+): (?P<value>{NUMBER})",
        heads=(
            r"^\W*Epoch <epoch>/\d+\s*$",
            r"\bLearningRateScheduler (?:reducing|setting|increasing) learning rate to <learning_rate>",
        ),
        marks=("loss: ", "Epoch "),
        first_epoch=1,
        is_whole=True,
    ),
)
