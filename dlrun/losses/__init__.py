"""Losses: functions of tensors, chosen by `loss=`."""
