"""The public names of skipstone."""

from skipstone.cachers import *  # noqa: F403
from skipstone.pipelines.attach import CacheHandle as CacheHandle
from skipstone.pipelines.attach import attach as attach
from skipstone.pipelines.attach import detach as detach
from skipstone.pipelines.bundled import load as load
from skipstone.pipelines.causal.block_causal import BlockCausal as BlockCausal
from skipstone.pipelines.causal.block_causal import block_causal as block_causal
from skipstone.pipelines.clips.stream import stream as stream
from skipstone.pipelines.opening.block_caching_file import load_block_caching as load_block_caching
from skipstone.pipelines.opening.block_caching_file import save_block_caching as save_block_caching
from skipstone.pipelines.recording.fit import fit_adacache as fit_adacache
from skipstone.pipelines.recording.fit import fit_block_caching as fit_block_caching
from skipstone.pipelines.recording.fit import fit_magcache as fit_magcache
from skipstone.pipelines.recording.fit import fit_smoothcache as fit_smoothcache
from skipstone.pipelines.recording.fit import fit_teacache as fit_teacache
from skipstone.pipelines.recording.record import record as record
from skipstone.pipelines.run.stats import RunStats as RunStats
from skipstone.pipelines.vae.handle import ChunkStats as ChunkStats
from skipstone.pipelines.vae.handle import InChunks as InChunks
from skipstone.pipelines.vae.in_chunks import decode_in_chunks as decode_in_chunks
from skipstone.pipelines.vae.in_chunks import encode_in_chunks as encode_in_chunks
from skipstone.pipelines.vae.stream import stream_decode as stream_decode
from skipstone.schedules.load import load_plan as load_plan
from skipstone.schedules.load import load_record as load_record
from skipstone.schedules.plan import Plan as Plan
from skipstone.schedules.record import Record as Record
