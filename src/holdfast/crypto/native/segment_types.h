/* The Python types SegmentEncoder and SegmentDecoder. */

#ifndef HOLDFAST_SEGMENT_TYPES_H
#define HOLDFAST_SEGMENT_TYPES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

extern PyType_Spec segment_encoder_spec, segment_decoder_spec;

#endif
