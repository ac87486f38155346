"""The methods, predictors and guidance savers that come with skipstone, one line each."""

from skipstone.cachers.adacache import AdaCache as AdaCache
from skipstone.cachers.block_caching import BlockCaching as BlockCaching
from skipstone.cachers.cfg_cache import CFGCache as CFGCache
from skipstone.cachers.dbcache import DBCache as DBCache
from skipstone.cachers.deepcache import DeepCache as DeepCache
from skipstone.cachers.delta_dit import DeltaDiT as DeltaDiT
from skipstone.cachers.dicache import DiCache as DiCache
from skipstone.cachers.easycache import EasyCache as EasyCache
from skipstone.cachers.faster_cache import FasterCache as FasterCache
from skipstone.cachers.first_block import FirstBlock as FirstBlock
from skipstone.cachers.fora import FORA as FORA
from skipstone.cachers.magcache import MagCache as MagCache
from skipstone.cachers.pab import PAB as PAB
from skipstone.cachers.planned import Planned as Planned
from skipstone.cachers.predictors.adams_bashforth import AdamsBashforth as AdamsBashforth
from skipstone.cachers.predictors.foca import FoCa as FoCa
from skipstone.cachers.predictors.freqca import FreqCa as FreqCa
from skipstone.cachers.predictors.hermite import Hermite as Hermite
from skipstone.cachers.predictors.reuse import Reuse as Reuse
from skipstone.cachers.predictors.spectrum import Spectrum as Spectrum
from skipstone.cachers.predictors.taylor import Taylor as Taylor
from skipstone.cachers.seacache import SeaCache as SeaCache
from skipstone.cachers.shared_prefix import SharedPrefix as SharedPrefix
from skipstone.cachers.smoothcache import SmoothCache as SmoothCache
from skipstone.cachers.teacache import TeaCache as TeaCache
from skipstone.cachers.tgate import TGate as TGate
