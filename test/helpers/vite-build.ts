import { build, type InlineConfig } from 'vite'

const { NODE_ENV } = process.env

/**
 * Builds with Vite, and restores `NODE_ENV`, which Vite changes. Otherwise other tests in this process would load a mix
 * of the development and production builds of React.
 */
export async function viteBuild(config: InlineConfig): ReturnType<typeof build> {
  try {
    return await build(config)
  } finally {
    if (NODE_ENV === undefined) delete process.env.NODE_ENV
    else process.env.NODE_ENV = NODE_ENV
  }
}
