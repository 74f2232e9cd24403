import type { Area } from './area.js'
import { http1 } from './http1.js'
import { http2 } from './http2.js'
import { injection } from './injection.js'
import { redisLogs } from './redis-logs.js'
import { redisState } from './redis-state.js'
import { tabs } from './tabs.js'
import { tenants } from './tenants.js'
import { tokens } from './tokens.js'

export const AREAS: readonly Area[] = [http1, http2, injection, redisLogs, redisState, tabs, tenants, tokens]
