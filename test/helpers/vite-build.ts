import { build, type InlineConfig } from 'vite'

const { NODE_ENV } = process.env

/**
 * Builds with Vite, which sets `NODE_ENV` of this process and leaves it so. Other tests run in the same process: React,
 * for one, would then be loaded half for production.
 */
export async function viteBuild(config: InlineConfig): ReturnType<typeof build> {
  try {
    return await build(config)
  } finally {
    if (NODE_ENV === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = NODE_ENV
  }
}
